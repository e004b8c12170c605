# What differs from a virtual machine: a container has no kernel, no initrd, no boot loader; and what Debian's programs
# want otherwise than nixpkgs'.
{
  config,
  lib,
  options,
  modulesPath,
  ...
}:
let
  forAll = [
    "--drop-capability=CAP_LINUX_IMMUTABLE"
    "--link-journal=no"
    "--resolv-conf=off"
    "--timezone=off"
    "--console=read-only"
  ]
  # libraries and what they read; programs come from the store
  ++ map (folder: "--bind-ro=/usr/${folder}") [
    "lib"
    "lib64"
    "libexec"
    "share"
  ]
  ++ map (folder: "--bind-ro=/harness/empty:/usr/${folder}") (import ./hidden.nix);

  ofVirtualMachine = [
    "--private-network"
    "--machine=${config.system.name}"
    "--private-users=no"
    # a whole one, else the kernel refuses the one that Nix' sandbox mounts
    "--bind=/proc:/run/host/proc"
    "--keep-unit"
    "--register=no"
    "--notify-ready=yes"
    # a store of its own over everybody's, its database included
    "--overlay=/nix:/harness/nix/${config.system.name}:/nix"
  ];
in
{
  imports = [ (modulesPath + "/virtualisation/nspawn-container") ];

  boot.isContainer = lib.mkForce true;
  fileSystems = lib.mkForce { };
  virtualisation.${if options.virtualisation ? fileSystems then "fileSystems" else null} =
    lib.mkForce
      { };
  # the options of what is a container in the flake too are tested with it
  virtualisation.systemd-nspawn.options =
    if options.virtualisation ? qemu then lib.mkForce (ofVirtualMachine ++ forAll) else forAll;
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
