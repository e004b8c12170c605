# Every NixOS test of this package set, with the machines it has, becomes one of systemd-nspawn containers.
final: prev: {
  testers = prev.testers // {
    runNixOSTest =
      test:
      prev.testers.runNixOSTest (
        { config, lib, ... }:
        let
          # what the driver starts; `run` has made the folders below /harness
          start =
            name: machine:
            final.writeScript "run-${name}-nspawn" ''
              #!/bin/bash
              set -euo pipefail
              export PATH=/usr/sbin:/usr/bin SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
              while read -r file; do echo $$ > "$file"; done < /harness/groups/${name}
              mkdir -p ${toString (map (folder: "/usr/${folder}") (import ./hidden.nix))}
              root=$RUN_NSPAWN_ROOT_DIR
              mkdir -p "$root"/{nix,bin,sbin,usr/bin,usr/sbin} /harness/nix/${name}
              ln -sfn usr/lib "$root/lib"
              ln -sfn usr/lib64 "$root/lib64"
              # compiled into Debian's systemd
              for program in mount umount dbus-broker; do
                ln -sfn ${final.debianPrograms}/bin/$program "$root/usr/bin/$program"
              done
              ln -sfn ${final.debianPrograms}/bin/resolvconf "$root/usr/sbin/resolvconf"
              ln -sfn /run/wrappers/bin/unix_chkpwd "$root/usr/sbin/unix_chkpwd"
              # the shell of the sandbox of Debian's Nix
              cp /usr/bin/bash-static "$root/usr/bin/"
              exec ${lib.getExe machine.system.build.nspawn}
            '';
        in
        {
          imports = [ test ];
          defaults.imports = [ ./container.nix ];
          driverConfiguration = {
            vms = lib.mkForce { };
            containers = lib.mkForce (
              lib.mapAttrs (name: machine: {
                inherit name;
                start_script = start name machine;
              }) config.allMachines
            );
          };
        }
      );
  };
}
