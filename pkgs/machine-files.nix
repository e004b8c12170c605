# Units, nginx snippets, sysusers.d and tmpfiles.d of a program name Debian's paths in its source. This gives a
# package the phases that make them name the store's, and that put them where NixOS looks for them.
{
  lib,
  name,
  # Debian's path → the store's
  paths,
}:
{
  postPatch = ''
    find systemd nginx -type f | while read -r file; do
      substituteInPlace "$file" ${
        lib.concatStringsSep " " (lib.mapAttrsToList (from: to: "--replace-quiet ${from} ${to}") paths)
      }
    done
    if grep --recursive --line-number --extended-regexp '(^|[^[:alnum:]])/(usr|bin|sbin)/' systemd nginx; then
      echo "these paths do not exist on NixOS: name them in default.nix" >&2
      exit 1
    fi
  '';

  postInstall = ''
    mkdir --parents $out/lib/systemd $out/share/${name}
    cp --recursive systemd $out/lib/systemd/system
    cp --recursive nginx $out/share/${name}
    for folder in sysusers.d tmpfiles.d; do
      if [[ -d $folder ]]; then cp --recursive $folder $out/lib; fi
    done
  '';
}
