<?php

declare(strict_types=1);

/**
 * Where Drupal keeps its version; this one is a stand-in's.
 */
class Drupal {

  const VERSION = '10.6.0-hostenv-standin';

}
