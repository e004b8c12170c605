# A machine that this host reaches: `address` is one of the host's, `ports` maps its ports to the machine's.
{ address, ports }:
{ lib, ... }:
{
  virtualisation.forwardPorts = lib.mapAttrsToList (host: guest: {
    from = "host";
    host = {
      inherit address;
      port = lib.toInt host;
    };
    guest.port = guest;
  }) ports;
}
