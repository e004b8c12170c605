<?php

declare(strict_types=1);

namespace Drupal\hostenv_demo_page\Controller;

use Drupal\Core\Database\Connection;
use Drupal\Core\DependencyInjection\ContainerInjectionInterface;
use Drupal\Core\Render\Markup;
use Drupal\Core\StreamWrapper\PublicStream;
use Drupal\hostenv_demo_page\DemoSite;
use Symfony\Component\DependencyInjection\ContainerInterface;
use Symfony\Component\HttpFoundation\JsonResponse;
use Symfony\Component\HttpFoundation\Request;

/**
 * Joins the demo's site to Drupal.
 */
final class DemoController implements ContainerInjectionInterface {

  public function __construct(private readonly Connection $database) {}

  /**
   * {@inheritdoc}
   */
  public static function create(ContainerInterface $container): self {
    return new self($container->get('database'));
  }

  /**
   * The front page, read from the database at every request.
   *
   * @return array<string, mixed>
   *   A render array.
   */
  public function front(Request $request): array {
    return [
      '#markup' => Markup::create($this->site($request)->content()),
      '#cache' => ['max-age' => 0],
    ];
  }

  /**
   * Stores the note of a form post.
   */
  public function addNote(Request $request): JsonResponse {
    $note = $request->request->all()['note'] ?? '';
    [$status, $answer] = $this->site($request)->addNote(is_string($note) ? $note : '');
    return new JsonResponse($answer, $status);
  }

  private function site(Request $request): DemoSite {
    return new DemoSite(
      $this->database->getClientConnection(),
      $request->getBasePath() . '/' . PublicStream::basePath(),
    );
  }

}
