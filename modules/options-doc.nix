# The page docs/options.md: what the modules say of their options.
{
  lib,
  nixosOptionsDoc,
  pkgs,
  runCommand,
}:
let
  root = toString ../.;
  inherit
    (lib.evalModules {
      modules = [
        ./node.nix
        ./provider.nix
        {
          # what they set of NixOS' options is not looked at
          _module.check = false;
          _module.args = { inherit pkgs; };
        }
      ];
    })
    options
    ;
  doc = nixosOptionsDoc {
    options = { inherit (options) services; };
    transformOptions =
      option:
      option
      // {
        declarations = map (file: rec {
          name = lib.removePrefix "${root}/" (toString file);
          url = "../${name}";
        }) option.declarations;
      };
  };
in
runCommand "hostenv-options.md" { passthru = { inherit (doc) optionsNix; }; } ''
  cat > $out <<'END'
  # The modules' options

  What `nix build .#options-doc` makes of [modules/](../modules/). How they go together stands in [nixos.md](nixos.md).

  END
  # without the empty lines at the end
  echo "$(< ${doc.optionsCommonMark})" >> $out
''
