<?php

/**
 * @file
 * Makes Drupal forget what it cached of other code, as core/rebuild.php does: DOCROOT.
 */

declare(strict_types=1);

use Drupal\Core\DrupalKernel;
use Drupal\Core\Site\Settings;
use Symfony\Component\HttpFoundation\Request;

[, $root] = $argv;
chdir($root);
// An application that is installed like Drupal but caches nothing has no such file.
if (!is_file($root . '/core/includes/utility.inc')) {
  exit(0);
}

try {
  $class_loader = require $root . '/autoload.php';
  require_once $root . '/core/includes/utility.inc';
  $request = Request::createFromGlobals();
  DrupalKernel::bootEnvironment($root);
  Settings::initialize($root, 'sites/default', $class_loader);
  drupal_rebuild($class_loader, $request);
}
catch (\Throwable $error) {
  fwrite(STDERR, 'Drupal cannot rebuild its caches: ' . $error->getMessage() . "\n");
  exit(1);
}
