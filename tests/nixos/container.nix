# What differs from a virtual machine: a container has no kernel, no initrd, no boot loader; and what Debian's programs
# want otherwise than nixpkgs'.
{
  config,
  lib,
  options,
  modulesPath,
  ...
}:
{
  imports = [ (modulesPath + "/virtualisation/nspawn-container") ];

  boot.isContainer = lib.mkForce true;
  fileSystems = lib.mkForce { };
  virtualisation.${if options.virtualisation ? fileSystems then "fileSystems" else null} =
    lib.mkForce
      { };
  virtualisation.systemd-nspawn.options = lib.mkForce (
    [
      "--private-network"
      "--machine=${config.system.name}"
      "--private-users=no"
      # a whole one, else the kernel refuses the one that Nix' sandbox mounts
      "--bind=/proc:/run/host/proc"
      "--drop-capability=CAP_LINUX_IMMUTABLE"
      "--keep-unit"
      "--register=no"
      "--notify-ready=yes"
      "--link-journal=no"
      "--resolv-conf=off"
      "--timezone=off"
      "--console=read-only"
      # a store of its own over everybody's, its database included
      "--overlay=/nix:/harness/nix/${config.system.name}:/nix"
    ]
    # libraries and what they read; programs come from the store
    ++ map (folder: "--bind-ro=/usr/${folder}") [
      "lib"
      "lib64"
      "libexec"
      "share"
    ]
    ++ map (folder: "--bind-ro=/harness/empty:/usr/${folder}") (import ./hidden.nix)
  );
  services.qemuGuest.enable = lib.mkForce false;
  # the driver's own containers have no DHCP either
  networking.useDHCP = lib.mkForce false;

  # nothing here is looked at, and much of it would be compiled
  documentation.enable = false;
  documentation.nixos.enable = false;
  documentation.man.enable = false;
  documentation.info.enable = false;
  documentation.doc.enable = false;
  system.disableInstallerTools = true;
  environment.defaultPackages = [ ];
  environment.stub-ld.enable = false;
  fonts.fontconfig.enable = false;
  xdg.mime.enable = false;
  xdg.icons.enable = false;
  xdg.sounds.enable = false;
  xdg.autostart.enable = false;
  xdg.menus.enable = false;
  services.nscd.enable = false;
  system.nssModules = lib.mkForce [ ];
  systemd.shutdownRamfs.enable = false;
  systemd.services.lastlog2-import.enable = lib.mkForce false;
  # the host's kernel keeps its own
  environment.etc."sysctl.d/55-nixos-aslr-entropy.conf".enable = lib.mkForce false;

  # Debian's su is util-linux', which asks PAM under another name for login shells; nixpkgs' is shadow's
  security.pam.services.su-l = {
    rootOK = true;
    logFailures = true;
  };
}
