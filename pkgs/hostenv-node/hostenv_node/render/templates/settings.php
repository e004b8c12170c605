<?php

$project_settings = $app_root . '/' . $site_path . '/settings.project.php';
if (is_readable($project_settings)) {
  include $project_settings;
}

$databases['default']['default'] = [
  'driver' => 'mysql',
  'namespace' => 'Drupal\\mysql\\Driver\\Database\\mysql',
  'autoload' => 'core/modules/mysql/src/Driver/Database/mysql/',
  'database' => @database@,
  'username' => @user@,
  'password' => '',
  'host' => 'localhost',
  'unix_socket' => @socket@,
  'prefix' => '',
  'collation' => 'utf8mb4_general_ci',
  'isolation_level' => 'READ COMMITTED',
];
$settings['hash_salt'] = file_get_contents(@hash_salt@);
$settings['file_public_path'] = 'sites/default/files';
$settings['file_private_path'] = @private_files@;
$settings['file_temp_path'] = @temporary@;
$settings['config_sync_directory'] ??= @config_sync@;
$settings['trusted_host_patterns'] = [
  @hosts@
];
$settings['skip_permissions_hardening'] = TRUE;
$settings['update_free_access'] = FALSE;
$config['system.advisories']['enabled'] = FALSE;
$config['automated_cron.settings']['interval'] = 0;
if ($candidate = getenv('@candidate_variable@')) {
  // The release that is served reads the caches in the database; this one must leave nothing in them.
  $settings['deployment_identifier'] = 'candidate-' . $candidate;
  $settings['cache']['default'] = 'cache.backend.memory';
  $settings['cache']['bins'] = array_fill_keys(
    ['bootstrap', 'config', 'discovery', ...array_keys($settings['cache']['bins'] ?? [])],
    'cache.backend.memory',
  );
}
