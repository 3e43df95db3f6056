# The programs, with what they need to find at run time. Called as nixpkgs calls its packages.
{
  lib,
  rustPlatform,
  makeBinaryWrapper,
  btrfs-progs,
  compsize,
  util-linux,
}:

let
  manifest = lib.importTOML ../Cargo.toml;
in
rustPlatform.buildRustPackage {
  pname = "op-dbus";
  inherit (manifest.workspace.package) version;

  # What the programs are made of, and nothing else: a change in the documentation builds nothing anew.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../bin
      ../lib
      ../mappings
      ../packaging/completions
      ../packaging/man
      ../proxmox-hook/op-dbus-hook
      ../proxmox-hook/manage.sh
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

  postInstall = ''
    install -D -m 755 proxmox-hook/op-dbus-hook -t $out/share/op-dbus/hook
    install -m 644 proxmox-hook/manage.sh -t $out/share/op-dbus/hook
    cp -r mappings $out/share/op-dbus/
    install -D -m 644 packaging/man/op-dbus.7 -t $out/share/man/man7
    install -D -m 644 packaging/completions/op-dbus -t $out/share/bash-completion/completions
    for program in discover query apply install snapshot audit embed; do
      ln -s op-dbus $out/share/bash-completion/completions/op-$program
    done
  '';

  # Shipped mappings and the hookscript are looked for in /usr/share otherwise. op-snapshot runs mkfs.btrfs, mount and
  # compsize; op-install runs gpgv when it is asked to.
  postFixup = ''
    wrapProgram $out/bin/op-snapshot \
      --suffix PATH : ${
        lib.makeBinPath [
          btrfs-progs
          compsize
          util-linux
        ]
      }
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
