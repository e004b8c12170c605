<?php

declare(strict_types=1);

namespace Drupal\Standin;

use Drupal\Core\Installer\Exception\AlreadyInstalledException;
use Drupal\Core\Installer\Exception\InstallerException;
use Drupal\hostenv_demo_page\DemoSite;

/**
 * The one site of a stand-in: its settings, its installation and its answers.
 */
final class Site {

  private const NO_SUCH_TABLE = '42S02';

  private readonly ?\PDO $database;

  private readonly string $filesPath;

  /**
   * @param string $root
   *   The document root.
   * @param string $sitePath
   *   The site's directory below the root, with settings.php in it.
   */
  public function __construct(private readonly string $root, string $sitePath) {
    [$databases, $settings] = self::settings($root, $sitePath);
    $this->filesPath = trim($settings['file_public_path'] ?? "$sitePath/files", '/');
    $this->database = isset($databases['default']['default']) ? self::connect($databases['default']['default']) : NULL;
  }

  /**
   * Records an installation in a database that has none.
   *
   * @throws \Drupal\Core\Installer\Exception\InstallerException
   */
  public function install(string $profile, string $name): void {
    if ($this->database === NULL) {
      throw new InstallerException('settings.php names no database.');
    }
    if (!$this->hasProfile($profile)) {
      throw new InstallerException("There is no installation profile '$profile'.");
    }
    if ($this->name() !== NULL) {
      throw new AlreadyInstalledException('The database holds a site already.');
    }
    // An installation that was cut short leaves an empty table.
    $this->database->exec(
      'CREATE TABLE IF NOT EXISTS standin_site'
      . ' (id INT PRIMARY KEY, name VARCHAR(255) NOT NULL, profile VARCHAR(255) NOT NULL)'
      . ' ENGINE=InnoDB DEFAULT CHARSET=utf8mb4'
    );
    $this->database->prepare('INSERT INTO standin_site VALUES (1, ?, ?)')->execute([$name, $profile]);
  }

  /**
   * Answers one request: the front page, a posted note, or nothing else.
   *
   * @param array<string, mixed> $form
   *   The fields of a posted form.
   */
  public function answer(string $method, string $path, array $form): void {
    header('Cache-Control: no-store');
    header('X-Generator: hostenv stand-in for Drupal');
    $name = $this->name();
    if ($name === NULL) {
      $this->page(503, 'Not installed', '<p>No site is installed in this database.</p>');
      return;
    }
    if (!class_exists(DemoSite::class)) {
      $this->page(503, $name, '<p>The demo project’s code is not here: modules/custom/hostenv_demo_page is missing.</p>');
      return;
    }
    $demo = new DemoSite($this->database, "/$this->filesPath");
    $allowed = ['/' => ['GET', 'HEAD'], '/notes' => ['POST']][$path] ?? [];
    if ($allowed === []) {
      $this->page(404, $name, '<p>There is no such page.</p>');
    }
    elseif (!in_array($method, $allowed, TRUE)) {
      header('Allow: ' . implode(', ', $allowed));
      $this->page(405, $name, '<p>This page does not take such requests.</p>');
    }
    elseif ($path === '/') {
      $this->page(200, $name, $demo->content());
    }
    else {
      [$status, $answer] = $demo->addNote(is_string($form['note'] ?? NULL) ? $form['note'] : '');
      http_response_code($status);
      header('Content-Type: application/json');
      echo json_encode($answer, JSON_THROW_ON_ERROR);
    }
  }

  /**
   * The installed site's name, or NULL where nothing is installed.
   */
  private function name(): ?string {
    try {
      return $this->database?->query('SELECT name FROM standin_site WHERE id = 1')->fetchColumn() ?: NULL;
    }
    catch (\PDOException $error) {
      if ($error->getCode() !== self::NO_SUCH_TABLE) {
        throw $error;
      }
      return NULL;
    }
  }

  private function hasProfile(string $profile): bool {
    if (preg_match('/^[a-z0-9_]+$/', $profile) !== 1) {
      return FALSE;
    }
    foreach (['core/profiles', 'profiles', 'profiles/custom'] as $directory) {
      if (is_file("$this->root/$directory/$profile/$profile.info.yml")) {
        return TRUE;
      }
    }
    return FALSE;
  }

  private function page(int $status, string $title, string $content): void {
    http_response_code($status);
    header('Content-Type: text/html; charset=UTF-8');
    $title = htmlspecialchars($title, ENT_QUOTES, 'UTF-8');
    echo <<<HTML
      <!DOCTYPE html>
      <html lang="en">
      <head><meta charset="utf-8"><title>hostenv demo | $title</title></head>
      <body>
      <h1>hostenv demo</h1>
      $content
      <footer><p>Served by the stand-in for Drupal of hostenv’s lab, not by Drupal.</p></footer>
      </body>
      </html>

      HTML;
  }

  /**
   * Reads settings.php as Drupal does, with the same variables in scope.
   *
   * @return array{array<string, mixed>, array<string, mixed>}
   *   The variables $databases and $settings.
   */
  private static function settings(string $app_root, string $site_path): array {
    $databases = $settings = $config = [];
    if (is_file("$app_root/$site_path/settings.php")) {
      require "$app_root/$site_path/settings.php";
    }
    return [$databases, $settings];
  }

  /**
   * @param array<string, mixed> $info
   *   A connection as in Drupal's $databases.
   */
  private static function connect(array $info): \PDO {
    $place = empty($info['unix_socket'])
      ? 'host=' . ($info['host'] ?? 'localhost') . ';port=' . ($info['port'] ?? 3306)
      : 'unix_socket=' . $info['unix_socket'];
    return new \PDO(
      "mysql:$place;dbname={$info['database']};charset=utf8mb4",
      $info['username'],
      $info['password'] ?? '',
      [\PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION],
    );
  }

}
