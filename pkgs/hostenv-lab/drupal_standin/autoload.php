<?php

/**
 * @file
 * Class loading: Drupal\Core and Drupal\Standin from core, other namespaces from modules.
 */

declare(strict_types=1);

spl_autoload_register(static function (string $class): void {
  [$vendor, $module, $rest] = explode('\\', $class, 3) + ['', '', ''];
  if ($vendor !== 'Drupal' || $rest === '') {
    return;
  }
  $directory = in_array($module, ['Core', 'Standin'], TRUE)
    ? __DIR__ . "/core/lib/Drupal/$module"
    : __DIR__ . "/modules/custom/$module/src";
  $file = $directory . '/' . str_replace('\\', '/', $rest) . '.php';
  if (is_file($file)) {
    require $file;
  }
});

return new \stdClass();
