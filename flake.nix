{
  description = "Any D-Bus service as declarative state";

  # nixos-unstable, for a Rust as new as rust-version in Cargo.toml.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEachSystem = f: lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      # One app for each folder of bin/: nix run .#op-query
      programs = builtins.attrNames (builtins.readDir ./bin);
    in
    {
      overlays.default = final: _previous: { op-dbus = final.callPackage ./nix/package.nix { }; };

      packages = forEachSystem (pkgs: rec {
        op-dbus = pkgs.callPackage ./nix/package.nix { };
        default = op-dbus;
      });

      apps = forEachSystem (
        pkgs:
        let
          package = self.packages.${pkgs.stdenv.hostPlatform.system}.op-dbus;
          app = name: {
            type = "app";
            program = lib.getExe' package name;
            meta.description = "${name} of op-dbus: any D-Bus service as declarative state";
          };
        in
        lib.genAttrs programs app // { default = app "op-dbus"; }
      );

      nixosModules = rec {
        op-dbus =
          { lib, pkgs, ... }:
          {
            imports = [ ./nix/module.nix ];
            services.op-dbus.package =
              lib.mkDefault
                self.packages.${pkgs.stdenv.hostPlatform.system}.op-dbus;
          };
        default = op-dbus;
      };

      checks = forEachSystem (
        pkgs:
        let
          inherit (pkgs.stdenv.hostPlatform) system;
        in
        {
          package = self.packages.${system}.op-dbus;
          # The units of a system with every option set; evaluating them is the check.
          module = pkgs.writeText "op-dbus-units.json" (builtins.toJSON self.lib.units.${system});
          vm = pkgs.testers.runNixOSTest (
            import ./nix/tests/vm.nix { module = self.nixosModules.default; }
          );
        }
      );

      # For nix/check.sh: what systemd is to read.
      lib.units = lib.genAttrs systems (
        system:
        import ./nix/tests/module.nix {
          inherit (lib) nixosSystem;
          inherit system;
          module = self.nixosModules.default;
        }
      );

      devShells = forEachSystem (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.cargo
            pkgs.clippy
            pkgs.rustc
            pkgs.rustfmt
            pkgs.jq
          ];
        };
      });

      formatter = forEachSystem (pkgs: pkgs.nixfmt-tree);
    };
}
