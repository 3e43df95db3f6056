{
  description = "Any D-Bus service as declarative state";

  # nixos-unstable, for a Rust as new as rust-version in Cargo.toml.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEachSystem = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      overlays.default = final: _previous: { op-dbus = final.callPackage ./nix/package.nix { }; };

      packages = forEachSystem (pkgs: rec {
        op-dbus = pkgs.callPackage ./nix/package.nix { };
        op-dbus-onnx = pkgs.callPackage ./nix/package.nix { withOnnxruntime = true; };
        default = op-dbus;
      });

      nixosModules = rec {
        op-dbus =
          { lib, pkgs, ... }:
          {
            imports = [ ./nix/module.nix ];
            services.op-dbus.package = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.op-dbus;
          };
        default = op-dbus;
      };

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
    };
}
