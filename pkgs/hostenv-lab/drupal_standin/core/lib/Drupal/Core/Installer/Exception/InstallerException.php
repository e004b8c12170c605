<?php

declare(strict_types=1);

namespace Drupal\Core\Installer\Exception;

/**
 * The installation cannot be done.
 */
class InstallerException extends \RuntimeException {}
