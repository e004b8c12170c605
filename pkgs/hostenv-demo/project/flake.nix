# The project that the demo deploys. Plain data and no inputs: the provider evaluates it without fetching anything.
{
  description = "hostenv's demo project: a Drupal site whose front page shows the imported seed";

  outputs =
    _:
    let
      hosted.environments.main = {
        type = "production";
        enable = true;
        gitRef = "main";
        application = {
          name = "drupal";
          docroot = "web";
          profile = "hostenv_demo";
        };
        virtualHosts."demo.hostenv.local" = { };
        users = { };
        migrations = [ "drupal-migrate" ];
        deploymentVerification.checks = [
          {
            name = "front page";
            request = {
              virtualHost = "demo.hostenv.local";
              path = "/";
            };
            constraints = [
              {
                rule = "minHttpStatus";
                value = 200;
              }
              {
                rule = "maxHttpStatus";
                value = 299;
              }
              {
                rule = "bodyContains";
                value = "hostenv demo";
              }
            ];
          }
        ];
      };
    in
    {
      lib.hostenv = {
        x86_64-linux = hosted;
        aarch64-linux = hosted;
      };
    };
}
