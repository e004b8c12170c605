# Debian's Python as nixpkgs' interpreter: its hooks build the flake's packages and the test driver with it.
{ nixpkgs }:
final: _:
let
  inherit (final) lib;
  stdenv = final.stdenvNoCC;

  pythonArgs = {
    inherit (final)
      __splicedPackages
      callPackage
      config
      db
      lib
      makeScopeWithSplicing'
      pythonPackagesExtensions
      stdenv
      ;
  };
  passthruFun = import (nixpkgs + "/pkgs/development/interpreters/python/passthrufun.nix") pythonArgs;
  python =
    let
      self = final.debianPackage "python3" {
        debs = [
          "python3-minimal"
          "python3.13-minimal"
        ];
        version = "3.13.5";
        mainProgram = "python3";
        links.python = "python3";
        extra = ''
          mkdir -p $out/nix-support
          sed 's#@sitePackages@#lib/python3.13/site-packages#' ${
            nixpkgs + "/pkgs/development/interpreters/python/setup-hook.sh"
          } > $out/nix-support/setup-hook
        '';
        passthru = passthruFun {
          inherit self;
          implementation = "cpython";
          libPrefix = "python3.13";
          executable = "python3.13";
          pythonVersion = "3.13";
          sourceVersion = {
            major = "3";
            minor = "13";
            patch = "5";
            suffix = "";
          };
          sitePackages = "lib/python3.13/site-packages";
          hasDistutilsCxxPatch = false;
          packageOverrides = pythonOverrides;
          pythonOnBuildForBuild = self;
          pythonOnBuildForHost = self;
          pythonOnBuildForTarget = self;
          pythonOnHostForHost = self;
          pythonOnTargetForTarget = { };
          pythonAttr = "python313";
        };
      };
    in
    self;
  pythonOverrides =
    self: _:
    let
      # name -> what it propagates; the files are Debian's dist-packages
      module =
        pname:
        {
          files ? [ pname ],
          needs ? [ ],
          post ? "",
        }:
        self.toPythonModule (
          stdenv.mkDerivation {
            pname = "python3.13-${pname}";
            version = "13";
            dontUnpack = true;
            dontPatchShebangs = true;
            propagatedBuildInputs = needs ++ [ python ];
            installPhase = ''
              site=$out/lib/python3.13/site-packages
              mkdir -p $site
              for f in ${toString files}; do
                for g in /usr/lib/python3/dist-packages/$f /usr/lib/python3/dist-packages/$f-*.dist-info /usr/lib/python3/dist-packages/$f-*.egg-info; do
                  if [[ -e $g ]]; then cp -rL $g $site/; fi
                done
              done
              [[ -n $(ls $site) ]]
              ${post}
            '';
            meta.license = lib.licenses.free;
          }
        );
      seen =
        name:
        self.toPythonModule (
          stdenv.mkDerivation {
            name = "python3.13-${name}-of-the-root";
            dontUnpack = true;
            installPhase = "mkdir -p $out/lib/python3.13/site-packages";
            meta.license = lib.licenses.free;
          }
        );
    in
    {
      bootstrap = {
        inherit (self)
          installer
          build
          packaging
          pyproject-hooks
          wheel
          setuptools
          ;
        flit-core = self.packaging;
      };
      flit-core = self.packaging;
      setuptools = module "setuptools" {
        files = [
          "setuptools"
          "_distutils_hack"
          "pkg_resources"
          "distutils-precedence.pth"
        ];
      };
      wheel = module "wheel" { };
      build = module "build" {
        needs = [
          self.packaging
          self.pyproject-hooks
        ];
        post = "mkdir -p $out/bin; printf '#!/bin/sh\nexec /usr/bin/python3 -m build \"$@\"\n' > $out/bin/pyproject-build; chmod +x $out/bin/pyproject-build";
      };
      # older than what nixpkgs' hook calls, which names the interpreter; and Debian's layout is not its
      installer = module "installer" {
        post = ''
          substituteInPlace $site/installer/__main__.py \
            --replace-fail 'interpreter=sys.executable' 'interpreter=args.executable or sys.executable' \
            --replace-fail 'sysconfig.get_paths(vars=vars)' 'sysconfig.get_paths("posix_prefix", vars=vars)' \
            --replace-fail '    parser.add_argument("wheel"' '    parser.add_argument("--executable")
              parser.add_argument("wheel"'
        '';
      };
      packaging = module "packaging" { };
      pyproject-hooks = module "pyproject_hooks" { };
      requests = module "requests" {
        needs = [
          self.urllib3
          self.idna
          self.certifi
          self.charset-normalizer
        ];
      };
      urllib3 = module "urllib3" { };
      idna = module "idna" { };
      certifi = module "certifi" { };
      charset-normalizer = module "charset_normalizer" { };
      markdown-it-py = module "markdown_it" { needs = [ self.mdurl ]; };
      mdit-py-plugins = module "mdit_py_plugins" { };
      mdurl = module "mdurl" { };
      # the driver runs where Debian's modules can be seen
      colorama = seen "colorama";
      greenlet = seen "greenlet";
      hypothesis = seen "hypothesis";
      ipython = seen "ipython";
      junit-xml = seen "junit-xml";
      mypy = seen "mypy";
      ptpython = seen "ptpython";
      pydantic = seen "pydantic";
      pytest = seen "pytest";
      types-requests = seen "types-requests";
      ruff = self.toPythonModule final.ruff;
      ty = self.toPythonModule final.ty;
      # only for a breakpoint in a script
      remote-pdb = self.toPythonModule (
        stdenv.mkDerivation {
          name = "python3.13-remote-pdb-stub";
          dontUnpack = true;
          installPhase = ''
            mkdir -p $out/lib/python3.13/site-packages
            echo "RemotePdb = None" > $out/lib/python3.13/site-packages/remote_pdb.py
          '';
          meta.license = lib.licenses.free;
        }
      );
    };
in
{
  python3 = python;
  python313 = python;
  python3Minimal = python;
  python3Packages = python.pkgs;
  python313Packages = python.pkgs;
}
