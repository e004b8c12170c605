# What all nodes have in common.
{
  services.hostenv-node = {
    enable = true;
    apiBaseUrl = "https://provider.example.org";
  };

  services.openssh.enable = true;

  system.stateVersion = "26.05";
}
