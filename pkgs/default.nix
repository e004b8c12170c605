# The programs, built with a package set; the overlay adds them to it, the modules take theirs from here.
pkgs: {
  hostenv-core = pkgs.python3Packages.callPackage ./hostenv-core { };
  hostenv-provider = pkgs.callPackage ./hostenv-provider { };
  hostenv-node = pkgs.callPackage ./hostenv-node { };
  hostenv-lab = pkgs.callPackage ./hostenv-lab { };
  hostenv-demo = pkgs.callPackage ./hostenv-demo { };
}
