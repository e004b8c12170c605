# What a container of nixpkgs' test driver lacks of a machine that comin switches: it shares the store of whoever builds the
# test, read-only and without its database. Here it mounts the paths of its own system, one by one, over a folder of its own.
{
  config,
  pkgs,
  ...
}:
let
  closure = pkgs.closureInfo { rootPaths = [ config.system.build.toplevel ]; };
  tool = name: "${pkgs.util-linux}/bin/${name}";
in
{
  virtualisation.systemd-nspawn.options = [ "--bind-ro=${closure}:/nix/closure" ];

  # the first thing after activation, and again at each boot, which begins with the builder's store
  boot.postBootCommands = ''
    mkdir -p /nix/own
    while read -r path; do
      own=/nix/own/''${path#/nix/store/}
      if [ -L "$path" ]; then
        cp --no-dereference --no-clobber "$path" "$own"
        continue
      elif [ -d "$path" ]; then
        mkdir -p "$own"
      else
        touch "$own"
      fi
      echo "$path $own none bind"
    done < /nix/closure/store-paths > /run/own-store.fstab
    ${tool "mount"} --bind /nix/own /nix/own
    ${tool "mount"} --make-private /nix/own
    ${tool "mount"} --all --fstab /run/own-store.fstab
    ${tool "mount"} --rbind /nix/own /nix/store
    ${tool "umount"} --recursive --lazy /nix/own
    ${config.nix.package.out}/bin/nix-store --load-db < /nix/closure/registration
  '';
}
