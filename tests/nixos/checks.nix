# What only NixOS machines can show: how the modules' options come out on a booted system.
{
  pkgs,
  hostenv,
}:
let
  test =
    name: module:
    pkgs.testers.runNixOSTest (
      { lib, ... }:
      {
        imports = [
          ../local-provider-migration.nix
          module
        ];
        _module.args.hostenv = hostenv;
        name = lib.mkForce "hostenv-${name}";
        testScript = lib.mkForce (builtins.readFile (./. + "/${name}.py"));
      }
    );

  certificates =
    pkgs.runCommand "hostenv-test-certificate" { nativeBuildInputs = [ pkgs.openssl ]; }
      ''
        mkdir $out
        cat > openssl.cnf <<'END'
        [req]
        distinguished_name = dn
        [dn]
        END
        openssl req -config openssl.cnf -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=provider \
          -addext subjectAltName=DNS:provider -keyout $out/key.pem -out $out/cert.pem
      '';
in
{
  booted = test "booted" { };

  options = test "options" {
    nodes.provider = {
      services.hostenv-provider = {
        hostenvHostname = "demo.hostenv.test";
        nodes = {
          node-a.address = "192.168.1.1";
          node-b.address = "192.168.1.2";
        };
        defaultNode = "node-b";
        sslCertificate = "/etc/tls/cert.pem";
        sslCertificateKey = "/etc/tls/key.pem";
      };
      environment.etc = {
        "tls/cert.pem" = {
          source = "${certificates}/cert.pem";
          user = "nginx";
        };
        "tls/key.pem" = {
          source = "${certificates}/key.pem";
          mode = "0400";
          user = "nginx";
        };
      };
    };
    defaults.security.pki.certificateFiles = [ "${certificates}/cert.pem" ];
    nodes.node-a =
      { lib, ... }:
      {
        services.hostenv-node = {
          tokenFile = "/run/secrets/hostenv-node-token";
          settings.frontDoorPort = 8081;
          apiBaseUrl = lib.mkForce "https://provider";
        };
      };
    nodes.node-b.services.nginx.virtualHosts."own.example.org".locations."/".return = "200 own";
  };
}
