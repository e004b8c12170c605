# Leaf packages made of Debian's own files: each attribute here would be compiled from source in nixpkgs.
{
  nixpkgs,
  project,
  cominProgram,
}:
final: prev:
let
  lib = import (nixpkgs + "/lib");
  stdenv = final.stdenvNoCC;

  # Debian's /usr/bin and /usr/sbin in one folder of the store; alternatives resolved, interpreters of scripts too.
  # The machines have no /usr/bin of their own, so that a path of Debian's in ours fails as on NixOS.
  programs = stdenv.mkDerivation {
    name = "debian-programs";
    dontUnpack = true;
    dontFixup = true;
    installPhase = ''
      mkdir -p $out/bin
      for dir in /usr/sbin /usr/bin; do
        for f in $dir/*; do
          real=$(readlink -f "$f") || continue
          [[ -f $real ]] || continue
          base=''${f##*/}
          case $real in
            /usr/bin/*|/usr/sbin/*)
              if [[ ''${real##*/} != "$base" ]]; then ln -sfn "''${real##*/}" "$out/bin/$base"; continue; fi ;;
          esac
          cp --remove-destination "$real" "$out/bin/$base"
        done
      done
      chmod u+w,a+rx $out/bin/* 2>/dev/null || true
      # nixpkgs' nginx has its temporary folders in /tmp
      sed -i 's@/var/lib/nginx/@/tmp/./././././@g' $out/bin/nginx
      for f in $out/bin/*; do
        [[ -L $f ]] && continue
        if [[ $(head -c 2 "$f" | tr -d '\0') == '#!' ]]; then
          sed -i -E "1s@^#! ?/(usr/)?s?bin/(bash|perl|python3[.0-9]*|sh)@#!$out/bin/\2@" "$f"
        fi
      done
    '';
  };

  deb =
    pname:
    {
      debs ? [ pname ],
      version ? "13",
      outputs ? [
        "out"
        "bin"
        "dev"
        "lib"
        "man"
        "doc"
        "info"
      ],
      passthru ? { },
      links ? { }, # name in bin -> Debian's program
      extra ? "",
      mainProgram ? pname,
      attrs ? { },
    }:
    let
      drv = stdenv.mkDerivation (
        {
          inherit pname version outputs;
          debs = lib.concatStringsSep " " debs;
          dontUnpack = true;
          dontFixup = true;
          setOutputFlags = false;
          installPhase = ''
            mkdir -p $out
            if [[ -n $debs ]]; then
              dpkg -L $debs | sort -u | while read -r f; do
                [[ -d $f && ! -L $f || ! -e $f ]] && continue
                case $f in
                  /usr/share/man/*|/usr/share/doc/*|/usr/share/locale/*|/usr/share/lintian/*|/usr/share/bug/*|/usr/share/initramfs-tools/*|/usr/share/info/*) continue ;;
                  /usr/bin/*|/usr/sbin/*|/bin/*|/sbin/*) to=bin/''${f##*/}; from=${programs}/bin/''${f##*/}; [[ -e $from ]] || continue ;;
                  /usr/lib/x86_64-linux-gnu/*) to=lib/''${f#/usr/lib/x86_64-linux-gnu/}; from=$f ;;
                  /lib/*) to=''${f#/}; from=/usr$f ;;
                  /usr/*) to=''${f#/usr/}; from=$f ;;
                  *) continue ;;
                esac
                mkdir -p "$out/''${to%/*}"
                case $to in
                  lib/systemd/system/*|lib/systemd/user/*|share/dbus-1/*|lib/udev/rules.d/*|lib/tmpfiles.d/*)
                    if [[ -L $from ]]; then ln -sfn "$(readlink "$from")" "$out/$to"; else
                      sed -E 's@(^|[ =@+!"-])/usr/s?bin/@\1${programs}/bin/@g; s@(^|[ =@+!"-])/s?bin/@\1${programs}/bin/@g; s@^(Exec[A-Za-z]*=[-+!:|]*)([a-z][a-z0-9-]*)( |$)@\1${programs}/bin/\2\3@' "$from" > "$out/$to"; fi ;;
                  *) ln -sfn "$from" "$out/$to" ;;
                esac
              done
            fi
            ${lib.concatStrings (
              lib.mapAttrsToList (to: from: ''
                mkdir -p $out/bin; ln -sfn ${programs}/bin/${from} $out/bin/${to}
              '') links
            )}
            ${extra}
            [[ ! -d $out/bin || -e $out/sbin ]] || ln -s bin $out/sbin
            for o in $outputs; do [[ $o == out || -e ''${!o} ]] || ln -s $out ''${!o}; done
          '';
          passthru = passthru // {
            isDebian = true;
          };
          meta = {
            inherit mainProgram;
            platforms = lib.platforms.all;
            license = lib.licenses.free;
            outputsToInstall = [ "out" ];
            badPlatforms = [ ];
            maintainers = [ ];
            description = pname;
            homepage = "";
          };
        }
        // attrs
      );
    in
    lib.makeOverridable ({ ... }: drv) { };

  empty = name: deb name { debs = [ ]; };
  stub =
    name: programs:
    deb name {
      debs = [ ];
      extra = ''
        mkdir -p $out/bin
        for p in ${toString programs}; do printf '#!/bin/sh\nexit 0\n' > $out/bin/$p; chmod +x $out/bin/$p; done
      '';
    };

  # attribute -> Debian packages
  mains = {
    gnused = "sed";
    gnugrep = "grep";
    gnutar = "tar";
    findutils = "find";
    iproute2 = "ip";
    openssh = "ssh";
    openresolv = "resolvconf";
    gnumake = "make";
    gnupatch = "patch";
    libxml2 = "xmllint";
    libxslt = "xsltproc";
    gnupg = "gpg";
    xz = "xz";
    tinyxxd = "xxd";
    nftables = "nft";
    hostname-debian = "hostname";
  };
  simple =
    lib.mapAttrs
      (
        name: debs:
        deb name {
          inherit debs;
          mainProgram = mains.${name} or name;
        }
      )
      {
        acl = [ "acl" ];
        attr = [ "attr" ];
        bash-completion = [ "bash-completion" ];
        brotli = [ "brotli" ];
        bzip2 = [ "bzip2" ];
        cpio = [ "cpio" ];
        curl = [ "curl" ];
        openssl = [ "openssl" ];
        curlMinimal = [ "curl" ];
        dash = [ "dash" ];
        dbus = [
          "dbus"
          "dbus-bin"
          "dbus-daemon"
          "dbus-user-session"
          "dbus-system-bus-common"
          "dbus-session-bus-common"
        ];
        dbus-broker = [ "dbus-broker" ];
        dhcpcd = [ "dhcpcd-base" ];
        diffutils = [ "diffutils" ];
        dosfstools = [ "dosfstools" ];
        e2fsprogs = [ "e2fsprogs" ];
        fcgiwrap = [ "fcgiwrap" ];
        file = [ "file" ];
        findutils = [ "findutils" ];
        gnugrep = [ "grep" ];
        gnupg = [
          "gnupg"
          "gpgv"
          "gpg"
          "gpg-agent"
          "gpgconf"
        ];
        gnused = [ "sed" ];
        gnutar = [ "tar" ];
        gnumake = [ "make" ];
        gnupatch = [ "patch" ];
        gettext = [
          "gettext"
          "gettext-base"
        ];
        gzip = [ "gzip" ];
        hostname-debian = [ "hostname" ];
        iproute2 = [ "iproute2" ];
        nftables = [ "nftables" ];
        iputils = [
          "iputils-ping"
          "iputils-arping"
        ];
        jq = [ "jq" ];
        kbd = [ "kbd" ];
        kmod = [ "kmod" ];
        less = [ "less" ];
        libcap = [ "libcap2-bin" ];
        libxslt = [ "xsltproc" ];
        libxml2 = [ "libxml2-utils" ];
        lndir = [ "xutils-dev" ];
        man-db = [ "man-db" ];
        mkpasswd = [ "whois" ];
        nano = [ "nano" ];
        ncurses = [
          "ncurses-bin"
          "ncurses-base"
        ];
        nix-bash-completions = [ ];
        openresolv = [ "openresolv" ];
        openssh = [
          "openssh-client"
          "openssh-server"
          "openssh-sftp-server"
        ];
        patchelf = [ "patchelf" ];
        procps = [ "procps" ];
        psmisc = [ "psmisc" ];
        restic = [ "restic" ];
        shellcheck = [ "shellcheck" ];
        rsync = [ "rsync" ];
        strace = [ "strace" ];
        sudo = [ "sudo" ];
        tinyxxd = [ "xxd" ];
        unzip = [ ];
        which = [ "debianutils" ];
        xz = [ "xz-utils" ];
        zstd = [ "zstd" ];
        # nothing of theirs is used
        xauth = [ ];
        xwininfo = [ ];
        fish = [ ];
        openresty = [ ];
        angie = [ ];
        tengine = [ ];
        zsh = [ ];
        xonsh = [ ];
        bcache-tools = [ ];
        btrfs-progs = [ ];
        bind = [ ];
        desktop-file-utils = [ ];
        fontconfig = [ ];
        hicolor-icon-theme = [ ];
        kexec-tools = [ ];
        qemu = [ ];
        qemu_test = [ ];
        shared-mime-info = [ ];
        sound-theme-freedesktop = [ ];
        linuxHeaders = [ ];
        time = [ ];
        lvm2 = [ ];
        nixos-init = [ ];
        fuse = [ ];
        fuse3 = [ ];
        nixos-rebuild-ng = [ ];
        nixos-firewall-tool = [ ];
        nsncd = [ ];
        make-initrd-ng = [ ];
        libressl = [ ];
        tpm2-tools = [ ];
        netpbm = [ ];
        vhost-device-vsock = [ ];
        socat = [ "socat" ];
        vde2 = [ "vde2" ];
        netcat-openbsd = [ "netcat-openbsd" ];
      };

  withShell = deb "bash" {
    debs = [ "bash" ];
    version = "5.2";
    links.sh = "bash";
    passthru.shellPath = "/bin/bash";
  };
in
simple
// {
  debianPrograms = programs;
  debianPackage = deb;

  pkgsStatic = final;
  shellcheck-minimal = deb "shellcheck" {
    passthru.compiler.bootstrapAvailable = true;
  };
  bash = withShell;
  bashInteractive = withShell;
  bashNonInteractive = withShell;
  runtimeShellPackage = withShell;

  iptables = deb "iptables" {
    extra = ''
      for p in iptables ip6tables iptables-save ip6tables-save iptables-restore ip6tables-restore; do ln -sfn ${programs}/bin/$p $out/bin/$p; done
    '';
  };
  mailcap = deb "mailcap" {
    debs = [ ];
    extra = "mkdir -p $out/etc/nginx; cp /etc/mime.types $out/etc/; cp /etc/nginx/mime.types $out/etc/nginx/";
  };
  coreutils = deb "coreutils" { links.kill = "kill"; };
  coreutils-full = final.coreutils;
  gawk = deb "gawk" { links.awk = "gawk"; };

  glibc = deb "glibc" {
    debs = [ "libc-bin" ];
    version = "2.41";
    outputs = [
      "out"
      "bin"
      "dev"
      "static"
      "getent"
      "debug"
    ];
  };
  getent = deb "getent" {
    debs = [ ];
    links.getent = "getent";
  };
  getconf = deb "getconf" {
    debs = [ ];
    links.getconf = "getconf";
  };
  glibcLocales = deb "glibc-locales" {
    debs = [ ];
    version = "2.41";
    extra = ''
      mkdir -p made/usr/lib/locale $out/lib/locale
      localedef --prefix $PWD/made --inputfile en_US --charmap UTF-8 en_US.UTF-8
      cp made/usr/lib/locale/locale-archive $out/lib/locale/
    '';
  };
  # the wrappers' list of unsafe variables is in glibc's source
  srcOnly =
    pkg:
    if pkg == final.glibc then
      stdenv.mkDerivation {
        name = "glibc-source";
        dontUnpack = true;
        postPatch = ''
          mkdir -p sysdeps/generic
          cat > sysdeps/generic/unsecvars.h <<'END'
          #define UNSECURE_ENVVARS "GCONV_PATH\0" "GETCONF_DIR\0" "GLIBC_TUNABLES\0" "HOSTALIASES\0" "LD_AUDIT\0" "LD_DEBUG\0" "LD_DEBUG_OUTPUT\0" "LD_DYNAMIC_WEAK\0" "LD_LIBRARY_PATH\0" "LD_ORIGIN_PATH\0" "LD_PRELOAD\0" "LD_PROFILE\0" "LD_SHOW_AUXV\0" "LD_VERBOSE\0" "LD_WARN\0" "LOCALDOMAIN\0" "LOCPATH\0" "MALLOC_ARENA_MAX\0" "NIS_PATH\0" "NLSPATH\0" "RESOLV_HOST_CONF\0" "RES_OPTIONS\0" "TMPDIR\0"
          END
        '';
      }
    else
      prev.srcOnly pkg;

  git = deb "git" {
    extra = "mkdir -p $out/libexec; ln -s /usr/lib/git-core $out/libexec/git-core";
    passthru.isGit = true;
  };
  gitMinimal = final.git;
  host = empty "host";
  netcat = deb "netcat" {
    debs = [ ];
    links.nc = "nc";
  };

  iana-etc = deb "iana-etc" {
    debs = [ ];
    extra = "mkdir -p $out/etc; cp /etc/protocols /etc/services $out/etc/";
  };
  tzdata = deb "tzdata" {
    outputs = [
      "out"
      "bin"
      "man"
      "dev"
    ];
  };
  # `security.pki` overrides it
  cacert = lib.makeOverridable (
    {
      extraCertificateFiles ? [ ],
      ...
    }:
    deb "nss-cacert" {
      debs = [ ];
      outputs = [
        "out"
        "unbundled"
        "p11kit"
        "hashed"
      ];
      extra = ''
        mkdir -p $out/etc/ssl/certs $out/etc/ssl/trust-source
        cat /etc/ssl/certs/ca-certificates.crt ${toString extraCertificateFiles} > $out/etc/ssl/certs/ca-bundle.crt
        touch $out/etc/ssl/trust-source/ca-bundle.trust.p11-kit
      '';
    }
  ) { };

  linux-pam = deb "linux-pam" {
    debs = [
      "libpam-modules"
      "libpam-modules-bin"
      "libpam-runtime"
      "libpam-systemd"
      "libpam0g"
    ];
    links.unix_chkpwd = "unix_chkpwd";
  };
  pam = final.linux-pam;
  shadow = deb "shadow" {
    debs = [
      "passwd"
      "login.defs"
    ];
    outputs = [
      "out"
      "su"
      "dev"
      "man"
    ];
    links = {
      su = "su";
      newgrp = "newgrp";
      sg = "sg";
      login = "login";
      nologin = "nologin";
      newuidmap = "newgrp";
      newgidmap = "newgrp";
      groups = "groups";
    };
    passthru.shellPath = "/bin/nologin";
  };
  util-linux = deb "util-linux" {
    debs = [
      "util-linux"
      "util-linux-extra"
      "mount"
      "bsdextrautils"
      "bsdutils"
      "fdisk"
      "eject"
      "libmount1"
      "login"
    ];
    outputs = [
      "out"
      "bin"
      "dev"
      "lib"
      "man"
      "login"
      "mount"
      "swap"
      "lastlog"
      "withPatches"
    ];
    version = "2.41";
    passthru.withLastlog = true;
    extra = ''
      rm -f $out/lib/systemd/system/lastlog2*
      mkdir -p $lastlog/lib/systemd/system $lastlog/lib/tmpfiles.d $lastlog/lib/security
      ln -s /usr/lib/x86_64-linux-gnu/security/pam_permit.so $lastlog/lib/security/pam_lastlog2.so
      echo "d /var/lib/lastlog 0755 root root" > $lastlog/lib/tmpfiles.d/lastlog2-tmpfiles.conf
      printf '[Unit]\nDescription=stub\n[Service]\nType=oneshot\nExecStart=/bin/sh -c :\n' > $lastlog/lib/systemd/system/lastlog2-import.service
    '';
  };
  util-linuxMinimal = final.util-linux;

  systemd = deb "systemd" {
    version = "257";
    debs = [
      "systemd"
      "systemd-sysv"
      "udev"
      "systemd-container"
      "systemd-timesyncd"
      "systemd-oomd"
      "systemd-coredump"
      "systemd-homed"
      "systemd-userdbd"
      "systemd-repart"
      "libpam-systemd"
    ];
    passthru = {
      interfaceVersion = 2;
      withBootloader = false;
      withCryptsetup = false;
      withEfi = false;
      withFido2 = false;
      withHostnamed = true;
      withImportd = false;
      withKmod = true;
      withLocaled = true;
      withLogind = true;
      withMachined = true;
      withNetworkd = true;
      withNspawn = true;
      withRepart = false;
      withPortabled = false;
      withSysupdate = false;
      withTimedated = true;
      withTpm2Tss = false;
      withTpm2Units = false;
      withUtmp = true;
      inherit (final) util-linux kmod kbd;
    };
    extra = ''
      # nixpkgs keeps what NixOS chooses from below example/
      mkdir -p $out/example
      mv $out/lib/systemd $out/lib/.systemd; mkdir -p $out/lib/systemd $out/example/systemd
      mv $out/lib/.systemd/system $out/example/systemd/system
      mv $out/lib/.systemd/user $out/example/systemd/user
      mv $out/lib/.systemd/* $out/lib/systemd/; rmdir $out/lib/.systemd
      cp -rL /usr/lib/sysctl.d $out/example/sysctl.d; cp -rL /usr/lib/tmpfiles.d $out/example/tmpfiles.d
      rm -rf $out/lib/tmpfiles.d $out/lib/sysctl.d $out/lib/sysusers.d
      find $out/example $out/lib/udev $out/share/dbus-1 -type f | xargs sed -i "s@/usr/lib/systemd/@$out/lib/systemd/@g; s@/usr/lib/udev/@$out/lib/udev/@g"
      find $out/example -type f | xargs sed -i -E 's@(^|[ =+!"-])/usr/s?bin/@\1${programs}/bin/@g'
      for f in $out/example/tmpfiles.d/*; do case ''${f##*/} in systemd*|etc.conf|home.conf|legacy.conf|portables.conf|provision.conf|static-nodes*|tmp.conf|var.conf|x11.conf|credstore.conf|journal-nocow.conf|20-systemd*) ;; *) rm $f ;; esac; done
      # what a newer systemd has, Debian's has not
      grep -rohE '"[a-z0-9@.-]+\.(service|socket|target|mount|path|slice|timer|automount)(\.wants)?"' \
        ${nixpkgs + "/nixos/modules/system/boot"} ${nixpkgs + "/nixos/modules/services/system"} ${
          nixpkgs + "/nixos/modules/services/ttys"
        } | tr -d '"' | sort -u | while read -r unit; do
        for kind in system user; do
          fn=$out/example/systemd/$kind/$unit
          [[ -e $fn || -L $fn ]] && continue
          case $unit in
            *.wants) mkdir -p $fn; ln -s ../basic.target $fn/ ;;
            *) printf '[Unit]\nDescription=Missing in Debian: %s\nConditionPathExists=/nonexistent\n' $unit > $fn
               case $unit in *.service) printf '[Service]\nType=oneshot\nExecStart=/bin/sh -c :\n' >> $fn ;; *.socket) printf '[Socket]\nListenStream=/run/missing-%s\n' $unit >> $fn ;; esac ;;
          esac
        done
      done
    '';
  };
  systemdMinimal = final.systemd;
  systemdLibs = final.systemd;
  udev = final.systemd;
  libudev-zero = final.systemd;

  nginx = deb "nginx" {
    debs = [
      "nginx"
      "nginx-common"
    ];
    version = "1.26.3";
    passthru.modules = [ ];
    extra = ''
      mkdir -p $out/conf
      cp /etc/nginx/{fastcgi.conf,fastcgi_params,uwsgi_params,scgi_params,mime.types,koi-win,koi-utf,win-utf} $out/conf/ || true
    '';
  };
  nginxStable = final.nginx;
  nginxMainline = final.nginx;
  nginx-config-formatter = deb "nginx-config-formatter" {
    debs = [ ];
    extra = "mkdir -p $out/bin; printf '#!/bin/sh\\nexec cat\\n' > $out/bin/nginxfmt; chmod +x $out/bin/nginxfmt";
  };
  # they look at what nixpkgs' own checks look at again
  gixy = stub "gixy" [ "gixy" ];
  deadnix = stub "deadnix" [ "deadnix" ];
  nixfmt-tree = deb "nixfmt-tree" {
    debs = [ ];
    passthru.check = _: empty "treefmt-check";
  };
  ruff = stub "ruff" [ "ruff" ];
  # mypy, which nixpkgs had before it, types the scripts; here all machines are containers, in the flake few are
  ty = deb "ty" {
    debs = [ ];
    extra = ''
      mkdir -p $out/bin
      cat > $out/bin/ty <<'END'
      #!/bin/sh
      # nixpkgs' own code has passed it elsewhere
      [ "$2" = testScriptWithTypes ] || exit 0
      sed -i 's/create_fake_nspawn_machine()$/create_fake_qemu_machine()/' "$2"
      export MYPYPATH=${nixpkgs + "/nixos/lib/test-driver/src"}:${project + "/tests/scenarios"}
      exec mypy --no-implicit-optional --ignore-missing-imports --follow-imports=silent --cache-dir=/harness/mypy "$2"
      END
      chmod +x $out/bin/ty
    '';
  };
  # JSON is YAML
  remarshal = deb "remarshal" {
    debs = [ ];
    extra = ''
      mkdir -p $out/bin
      cat > $out/bin/json2yaml <<'END'
      #!/usr/bin/python3
      import json, sys
      words = sys.argv[1:]
      key = words[1] if words[0] == "--unwrap" else None
      value = json.load(open(words[-2]))
      json.dump(value[key] if key else value, open(words[-1], "w"), indent=1)
      END
      chmod +x $out/bin/json2yaml
    '';
  };

  remarshal_0_17 = final.remarshal;

  mariadb = deb "mariadb-server" {
    debs = [
      "mariadb-server"
      "mariadb-server-core"
      "mariadb-client"
      "mariadb-client-core"
      "mariadb-backup"
      "mariadb-common"
    ];
    version = "11.8";
    mainProgram = "mariadb";
    # its programs find the rest beside themselves: copies, not links
    extra = ''
      rm -rf $out/lib/systemd
      for f in $out/bin/*; do cp --remove-destination -L $f $f.new; mv -f $f.new $f; done
      ln -sfn mariadbd $out/bin/mysqld
      [[ -e $out/bin/my_print_defaults ]] || cp /usr/bin/my_print_defaults $out/bin/
      [[ -e $out/share/mysql ]] || { mkdir -p $out/share; ln -sfn /usr/share/mysql $out/share/mysql; }
    '';
  };

  php =
    let
      self = deb "php-with-extensions" {
        debs = [ ];
        version = "8.4";
        mainProgram = "php";
        extra = ''
          mkdir -p $out/bin $out/lib
          ini=$out/lib/php.ini
          ext=$(php8.4 -n -r 'echo ini_get("extension_dir");')
          echo "extension_dir=$ext" > $ini
          cat /etc/php/8.4/mods-available/*.ini | grep -E '^(zend_)?extension=' | sort -u | while read -r line; do
            case $line in *mysqlnd*|*pdo.so*|*xml.so*|*dom.so*) ;; *) continue ;; esac; echo "$line" >> $ini; done
          cat /etc/php/8.4/mods-available/*.ini | grep -E '^(zend_)?extension=' | sort -u | grep -vE 'mysqlnd|pdo.so|xml.so|dom.so' >> $ini
          for p in php php-fpm; do
            printf '#! /bin/sh\nexport PHP_INI_SCAN_DIR=%s/lib\nexec %s/bin/%s8.4 -c /nonexistent "$@"\n' $out ${programs} $p > $out/bin/$p
            chmod +x $out/bin/$p
          done
        '';
      };
    in
    self
    // {
      buildEnv = _: self;
      withExtensions = _: self;
      extensions = { };
    };
  php84 = final.php;

  drupal = deb "drupal" {
    debs = [ ];
    extra = "mkdir -p $out/share/php; cp -r ${
      project + "/pkgs/hostenv-lab/drupal_standin"
    } $out/share/php/drupal";
  };
  restic-rest-server = deb "restic-rest-server" {
    debs = [ "restic-rest-server" ];
    mainProgram = "rest-server";
    extra = "for p in rest-server; do [[ -e $out/bin/$p ]] || ln -s restic-rest-server $out/bin/$p; done";
  };

  # a program that was built by hand, in the wrapper of comin's own package; or the lab's stand-in
  comin = stdenv.mkDerivation {
    pname = "comin";
    version = "0.13.0";
    dontUnpack = true;
    dontStrip = true;
    nativeBuildInputs = [ final.makeWrapper ];
    installPhase = ''
      mkdir -p $out/bin
      ${
        if cominProgram != null then
          "install ${cominProgram} $out/bin/comin"
        else
          ''
            mkdir -p $out/lib
            cp -r ${project + "/pkgs/hostenv-lab/hostenv_lab/comin_standin"} $out/lib/comin_standin
            cat > $out/bin/comin <<END
            #!${final.python3}/bin/python3
            import sys
            sys.path.insert(0, "$out/lib")
            from comin_standin.cli import main
            sys.exit(main())
            END
            chmod +x $out/bin/comin
          ''
      }
      wrapProgram $out/bin/comin --set GIT_CONFIG_SYSTEM ${final.writeText "git.config" "[safe]\n   directory = *\n[core]\n   hooksPath = /dev/null\n"} \
        --prefix PATH : ${lib.makeBinPath [ final.git ]}
    '';
    meta.mainProgram = "comin";
  };

  nix = deb "nix" {
    debs = [
      "nix-bin"
      "nix-setup-systemd"
    ];
    extra = "echo 'd /nix/var/nix/daemon-socket 0755 root root - -' > $out/lib/tmpfiles.d/nix-daemon.conf";
    version = "2.26.3";
    passthru.aws-sdk-cpp = null;
  };
  nixVersions = prev.nixVersions // {
    stable = final.nix;
    latest = final.nix;
  };

  perl =
    let
      self = deb "perl" {
        debs = [
          "perl"
          "perl-base"
        ];
        version = "5.40.1";
      };
    in
    self
    // {
      withPackages = _: self;
      buildEnv = _: self;
      interpreter = "${self}/bin/perl";
      pkgs = { };
    };
  perlPackages = { };

}
