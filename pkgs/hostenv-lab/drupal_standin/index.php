<?php

/**
 * @file
 * The front controller.
 */

declare(strict_types=1);

require_once __DIR__ . '/autoload.php';

(new \Drupal\Standin\Site(__DIR__, 'sites/default'))->answer(
  $_SERVER['REQUEST_METHOD'],
  (string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH),
  $_POST,
);
