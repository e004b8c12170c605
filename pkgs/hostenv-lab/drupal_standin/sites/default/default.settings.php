<?php

/**
 * @file
 * Copied to settings.php and completed with $databases by whoever installs the site.
 */

$databases = [];
$settings = [];
