<?php

declare(strict_types=1);

namespace Drupal\Core\Installer\Exception;

/**
 * The database already holds a site.
 */
class AlreadyInstalledException extends InstallerException {}
