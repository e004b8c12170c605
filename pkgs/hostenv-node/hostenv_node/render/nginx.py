"""nginx configuration: the environment's own server and its part of the front door. Pure."""

from hostenv_node.environment.entry import Environment
from hostenv_node.environment.layout import Layout, Servers

PROBE_PATH = "/.well-known/hostenv-front-door"
"""Answered by the front door itself, so that its presence can be seen without waking the application."""

_MIME_TYPES = """\
    text/html html htm shtml;
    text/css css;
    text/plain txt;
    text/xml xml;
    text/csv csv;
    text/calendar ics;
    text/javascript js mjs;
    application/json json map;
    application/manifest+json webmanifest;
    application/rss+xml rss;
    application/atom+xml atom;
    application/pdf pdf;
    application/zip zip;
    application/gzip gz tgz;
    application/wasm wasm;
    application/msword doc;
    application/vnd.openxmlformats-officedocument.wordprocessingml.document docx;
    application/vnd.openxmlformats-officedocument.spreadsheetml.sheet xlsx;
    image/avif avif;
    image/gif gif;
    image/jpeg jpg jpeg;
    image/png png;
    image/svg+xml svg svgz;
    image/webp webp;
    image/x-icon ico;
    font/ttf ttf;
    font/otf otf;
    font/woff woff;
    font/woff2 woff2;
    audio/mpeg mp3;
    audio/ogg ogg;
    audio/mp4 m4a;
    video/mp4 mp4 m4v;
    video/webm webm;
    video/quicktime mov;
"""

_DRUPAL_LOCATIONS = """\
    location ~* "\\.(engine|inc|install|make|module|profile|po|sh|sql|theme|twig|tpl|xtmpl|ya?ml|lock)~?$" {
      return 404;
    }
    location ~* "\\.(bak|orig|save|sw[op])$|~$" {
      return 404;
    }
    location ~ "^/sites/[^/]+/settings.*\\.php|^/sites/.*/private/|^/vendor/|^/composer\\.|^/web\\.config" {
      return 404;
    }
"""


def user_nginx(environment: Environment, layout: Layout, servers: Servers) -> str:
    """The environment's own server on its socket.

    It tests the freeze too, for requests that the front door let in before.
    """
    drupal = environment.application == "drupal"
    # Drupal's front controllers are at the top; a script elsewhere in its tree, or in files/, is never run.
    script = "^/[^/]+\\.php(/|$)" if drupal else "\\.php(/|$)"
    return f"""\
worker_processes 2;
error_log stderr;
pid {servers.pid_file};
worker_shutdown_timeout 30s;

events {{
  worker_connections 512;
}}

http {{
  types {{
{_MIME_TYPES}  }}
  default_type application/octet-stream;
  access_log off;
  sendfile on;
  server_tokens off;
  client_max_body_size 64m;
  client_body_temp_path {layout.cache_dir}/nginx/body;
  fastcgi_temp_path {layout.cache_dir}/nginx/fastcgi;
  proxy_temp_path {layout.cache_dir}/nginx/proxy;
  uwsgi_temp_path {layout.cache_dir}/nginx/uwsgi;
  scgi_temp_path {layout.cache_dir}/nginx/scgi;

  map $http_x_forwarded_proto $hostenv_https {{
    default "";
    https on;
  }}

  server {{
    listen unix:{servers.socket};
    server_name _;
    root {servers.release}/public;
    index index.php index.html;

{_freeze(layout, "    ")}
    location ~ "/\\.(?!well-known/)" {{
      return 404;
    }}
{_DRUPAL_LOCATIONS if drupal else ""}\
    location / {{
      try_files $uri {"" if drupal else "$uri/ "}/index.php$is_args$args;
    }}
    location ~ "{script}" {{
      fastcgi_split_path_info ^(.+?\\.php)(/.*)?$;
      # try_files forgets the path after the script's name
      set $hostenv_path_info $fastcgi_path_info;
      try_files $fastcgi_script_name =404;
      fastcgi_param PATH_INFO $hostenv_path_info;
      fastcgi_param SCRIPT_FILENAME $realpath_root$fastcgi_script_name;
      fastcgi_param DOCUMENT_ROOT $realpath_root;
      fastcgi_param SCRIPT_NAME $fastcgi_script_name;
      fastcgi_param DOCUMENT_URI $document_uri;
      fastcgi_param REQUEST_URI $request_uri;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param REQUEST_SCHEME $http_x_forwarded_proto;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param SERVER_PROTOCOL $server_protocol;
      fastcgi_param GATEWAY_INTERFACE CGI/1.1;
      fastcgi_param SERVER_SOFTWARE nginx;
      fastcgi_param SERVER_NAME $host;
      fastcgi_param SERVER_PORT $http_x_forwarded_port;
      fastcgi_param REMOTE_ADDR $http_x_real_ip;
      fastcgi_param REMOTE_PORT 0;
      fastcgi_param HTTPS $hostenv_https if_not_empty;
      fastcgi_param REDIRECT_STATUS 200;
      fastcgi_param HTTP_PROXY "";
      fastcgi_param HTTP_HOST $http_host;
      fastcgi_read_timeout 120s;
      fastcgi_pass unix:{servers.fpm_socket};
    }}
    location ~ "\\.php(/|$)" {{
      return 404;
    }}
  }}
}}
"""


def front_door(environment: Environment, layout: Layout, port: int) -> str:
    """The system nginx's part for one environment (contract 8): upstream, host names and the freeze."""
    return f"""\
# Written by hostenv-node for {environment.user}; changes are lost.
upstream {environment.user}_upstream {{
  server unix:{layout.upstream_socket};
}}

server {{
  listen {port};
  server_name {" ".join(environment.virtual_hosts)};
  client_max_body_size 64m;

{_freeze(layout, "  ")}
  location = {PROBE_PATH} {{
    return 204;
  }}
  location / {{
    proxy_pass http://{environment.user}_upstream;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-Port $server_port;
    # The environment's user owns the socket's folder and may put a link to another service's there: where the
    # provider is on this machine too, its service refuses what is marked as from the network (contract 4).
    proxy_set_header X-Hostenv-Public 1;
    # The application is its tenant's: it does not say to this nginx where to look and what to keep.
    proxy_ignore_headers X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate X-Accel-Buffering
      X-Accel-Charset;
    proxy_read_timeout 120s;
  }}
}}
"""


def default_server(port: int) -> str:
    """The front door's answer to host names that no environment has: none (444)."""
    return f"""\
# Written by hostenv-node; changes are lost.
server {{
  listen {port} default_server;
  server_name _;
  return 444;
}}
"""


def _freeze(layout: Layout, indent: str) -> str:
    # nginx looks at the file for every request, so that the freeze is in force the moment the file is there.
    lines = f"""\
set $hostenv_frozen "";
if (-f {layout.freeze_file}) {{
  set $hostenv_frozen "frozen";
}}
if ($request_method !~ ^(GET|HEAD|OPTIONS)$) {{
  set $hostenv_frozen "${{hostenv_frozen}}-write";
}}
if ($hostenv_frozen = "frozen-write") {{
  return 503;
}}
error_page 503 @frozen;
location @frozen {{
  internal;
  default_type text/plain;
  add_header Retry-After 30 always;
  return 503 "This site is being moved; reading works, please write again in a moment.\\n";
}}
"""
    return "".join(f"{indent}{line}\n" if line else "\n" for line in lines.splitlines())
