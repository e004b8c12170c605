"""nginx configuration: the environment's own server and its part of the front door. Pure."""

from hostenv_node.config import Config
from hostenv_node.environment.entry import Environment
from hostenv_node.environment.layout import Layout, Servers
from hostenv_node.render.template import filled, text

PROBE_PATH = "/.well-known/hostenv-front-door"
"""Answered by the front door itself, so that its presence can be seen without waking the application."""


def user_nginx(environment: Environment, layout: Layout, config: Config, servers: Servers) -> str:
    """The environment's own server on its socket.

    It tests the freeze too, for requests that the front door let in before.
    """
    drupal = environment.application == "drupal"
    return filled(
        "nginx.conf",
        layout=layout,
        config=config,
        servers=servers,
        freeze=_freeze(layout),
        application=text("nginx-drupal.conf") if drupal else "",
        folder="" if drupal else "$uri/ ",
        # Drupal's front controllers are at the top; a script elsewhere in its tree is never run.
        script="^/[^/]+\\.php(/|$)" if drupal else "\\.php(/|$)",
    )


def front_door(environment: Environment, layout: Layout, port: int) -> str:
    """The system nginx's part for one environment (contract 8): upstream, host names and the freeze."""
    return filled(
        "front-door.conf",
        environment=environment,
        layout=layout,
        port=port,
        hosts=" ".join(environment.virtual_hosts),
        freeze=_freeze(layout),
        probe_path=PROBE_PATH,
    )


def default_server(port: int) -> str:
    """The front door's answer to host names that no environment has: none (444)."""
    return filled("front-door-default.conf", port=port)


def _freeze(layout: Layout) -> str:
    return filled("nginx-freeze.conf", layout=layout)
