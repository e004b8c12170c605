<?php

/**
 * @file
 * Installs Drupal into the empty database that settings.php names: DOCROOT PROFILE HOSTNAME.
 */

declare(strict_types=1);

[, $root, $profile, $hostname] = $argv;
chdir($root);
// The installer makes absolute URLs.
$_SERVER['HTTP_HOST'] = $_SERVER['SERVER_NAME'] = $hostname;
$_SERVER['REMOTE_ADDR'] = '127.0.0.1';
$_SERVER['REQUEST_METHOD'] = 'GET';
$_SERVER['SCRIPT_NAME'] = '/index.php';

try {
  $class_loader = require $root . '/autoload.php';
  require_once $root . '/core/includes/install.core.inc';
  $password = bin2hex(random_bytes(24));
  install_drupal($class_loader, [
    'interactive' => FALSE,
    'site_path' => 'sites/default',
    'parameters' => ['profile' => $profile, 'langcode' => 'en'],
    'forms' => [
      'install_configure_form' => [
        'site_name' => $hostname,
        'site_mail' => "admin@$hostname",
        'account' => [
          'name' => 'admin',
          'mail' => "admin@$hostname",
          'pass' => ['pass1' => $password, 'pass2' => $password],
        ],
        'enable_update_status_module' => NULL,
        'enable_update_status_emails' => NULL,
      ],
    ],
  ]);
}
catch (\Throwable $error) {
  fwrite(STDERR, 'Drupal is not installed: ' . $error->getMessage() . "\n");
  exit(1);
}
