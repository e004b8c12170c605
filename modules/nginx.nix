# What the provider's and the nodes' nginx have in common.
{ config, lib, ... }:
let
  enabled = name: config.services.${name}.enable or false;
in
{
  config = lib.mkIf (enabled "hostenv-provider" || enabled "hostenv-node") {
    services.nginx = {
      # more than one address can hold: with nginx' own 512, a thousand connections that say nothing are the end
      eventsConfig = "worker_connections 16384;";
    };
  };
}
