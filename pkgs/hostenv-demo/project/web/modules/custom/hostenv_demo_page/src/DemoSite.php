<?php

declare(strict_types=1);

namespace Drupal\hostenv_demo_page;

/**
 * What the demo's site does, in plain PHP.
 *
 * It uses nothing of Drupal, so that the module's controller and the lab's
 * stand-in for Drupal answer alike. All it shows comes from the seed's tables.
 */
final class DemoSite {

  private const NO_SUCH_TABLE = '42S02';

  private const LONGEST_NOTE = 255;

  /**
   * @param \PDO $database
   *   The environment's database; it must throw on errors.
   * @param string $filesUrl
   *   Where public files are served, without a trailing slash.
   */
  public function __construct(
    private readonly \PDO $database,
    private readonly string $filesUrl,
  ) {}

  /**
   * The front page's content as HTML, also before the seed is imported.
   */
  public function content(): string {
    try {
      return $this->marker() . $this->articles() . $this->notes();
    }
    catch (\PDOException $error) {
      if ($error->getCode() !== self::NO_SUCH_TABLE) {
        throw $error;
      }
      return '<p id="marker">hostenv demo: the seed is not imported yet.</p>';
    }
  }

  /**
   * Stores a note and returns the answer's HTTP status and JSON value.
   *
   * @return array{int, array<string, int|string>}
   *   201 with the note's id; 400 for a bad note; 503 before the seed.
   */
  public function addNote(string $note): array {
    $note = trim($note);
    if (preg_match('/^.{1,' . self::LONGEST_NOTE . '}$/us', $note) !== 1) {
      return [400, ['error' => 'field "note" must hold 1 to ' . self::LONGEST_NOTE . ' characters of UTF-8 text']];
    }
    try {
      $this->database->prepare('INSERT INTO hostenv_demo_note (note) VALUES (?)')->execute([$note]);
      return [201, ['id' => (int) $this->database->lastInsertId()]];
    }
    catch (\PDOException $error) {
      if ($error->getCode() !== self::NO_SUCH_TABLE) {
        throw $error;
      }
      return [503, ['error' => 'the seed is not imported yet']];
    }
  }

  private function marker(): string {
    $note = $this->database->query('SELECT note FROM hostenv_demo_marker WHERE id = 1')->fetchColumn();
    return $note === FALSE
      ? '<p id="marker">hostenv demo: the marker row is missing.</p>'
      : '<p id="marker">hostenv demo marker: <strong>' . self::escape($note) . '</strong></p>';
  }

  private function articles(): string {
    $html = '';
    $rows = $this->database->query('SELECT title, body, image FROM hostenv_demo_article ORDER BY id');
    foreach ($rows->fetchAll(\PDO::FETCH_NUM) as [$title, $body, $image]) {
      $url = $this->filesUrl . '/' . implode('/', array_map('rawurlencode', explode('/', $image)));
      $html .= '<article><h2>' . self::escape($title) . '</h2><p>' . self::escape($body) . '</p>'
        . '<img src="' . self::escape($url) . '" alt="' . self::escape($title) . '" width="320"></article>';
    }
    return $html;
  }

  private function notes(): string {
    $count = $this->database->query('SELECT COUNT(*) FROM hostenv_demo_note')->fetchColumn();
    return '<p id="notes">Notes: ' . (int) $count . '</p>';
  }

  private static function escape(string $text): string {
    return htmlspecialchars($text, ENT_QUOTES | ENT_SUBSTITUTE, 'UTF-8');
  }

}
