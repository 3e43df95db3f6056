# The programs, with what they need to find at run time. Called as nixpkgs calls its packages.
{
  lib,
  rustPlatform,
  makeBinaryWrapper,
  btrfs-progs,
  compsize,
  gnupg,
  util-linux,
}:

let
  manifest = lib.importTOML ../Cargo.toml;
in
rustPlatform.buildRustPackage {
  pname = "op-dbus";
  inherit (manifest.workspace.package) version;

  # What the programs are made of, and what is installed beside them.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../bin
      ../lib
      ../mappings
      # What is installed beside the programs, and what says so.
      ../Makefile
      ../CHANGELOG.md
      ../README.md
      ../docs
      ../packaging
      ../proxmox-hook
      # A member of the workspace, so cargo wants to see it; it is neither built nor run here.
      (lib.fileset.difference ../tests (lib.fileset.maybeMissing ../tests/cache))
    ];
  };

  cargoLock.lockFile = ../Cargo.lock;

  nativeBuildInputs = [ makeBinaryWrapper ];

  # The end-to-end tests want a Debian root and a network; `make test` runs them.
  cargoBuildFlags = [
    "--workspace"
    "--exclude"
    "op_dbus_tests"
  ];
  cargoTestFlags = [
    "--package"
    "op_dbus"
    "--lib"
  ];

  # The list of all systems, packaging/files.sh, with the programs that make build builds.
  postInstall = ''
    mkdir -p built && mv $out/bin/* built/
    patchShebangs packaging
    PROGRAMS="$(sed -n 's/^PROGRAMS := //p' Makefile)" BUILT=built \
      PREFIX=$out DATA=$out/share/op-dbus ETC=$out/etc packaging/install.sh
  '';

  # Shipped mappings and the hookscript are looked for in /usr/share otherwise. op-snapshot runs mkfs.btrfs, mount and
  # compsize; op-install runs gpgv when it is asked to (--gpg).
  postFixup = ''
    wrapProgram $out/bin/op-snapshot \
      --suffix PATH : ${
        lib.makeBinPath [
          btrfs-progs
          compsize
          util-linux
        ]
      }
    wrapProgram $out/bin/op-install --suffix PATH : ${lib.makeBinPath [ gnupg ]}
    for program in $out/bin/op-*; do
      wrapProgram "$program" --set-default OP_DBUS_MAPPINGS $out/share/op-dbus/mappings \
        --set-default OP_DBUS_HOOK $out/share/op-dbus/hook/op-dbus-hook
    done
  '';

  meta = {
    description = "Any D-Bus service as declarative state";
    homepage = manifest.workspace.package.repository;
    license = lib.licenses.mit;
    mainProgram = "op-dbus";
    platforms = lib.platforms.linux;
  };
}
