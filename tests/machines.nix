# What is on the machines of the tests, be they virtual machines or containers.
hostenv: {
  defaults =
    { lib, pkgs, ... }:
    {
      # a machine of this network finds nothing on any other
      nix.settings.substituters = lib.mkForce [ ];
      environment.systemPackages = [ pkgs.curl ];
      environment.etc."hostenv-demo/seed".source = ../seed;
    };

  provider =
    { pkgs, ... }:
    {
      imports = [ hostenv.provider ];
      services.hostenv-provider = {
        enable = true;
        domain = "provider";
        settings.sourceFolders = [ "/srv" ];
      };
      environment.systemPackages = [ pkgs.git ];
      environment.etc."hostenv-demo/project".source = ../pkgs/hostenv-demo/project;
    };

  node = {
    imports = [ hostenv.node ];
    services.hostenv-node = {
      enable = true;
      apiBaseUrl = "http://provider";
      period = 5;
    };
  };
}
