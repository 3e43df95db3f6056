# A whole system with every option of the module set: evaluated, and its units written down, for systemd to read.
{
  nixosSystem,
  system,
  module,
}:
let
  evaluated = nixosSystem {
    inherit system;
    modules = [
      module
      {
        boot.isContainer = true;
        system.stateVersion = "25.05";
        services.op-dbus = {
          enable = true;
          state.plugins.hostname.location = "rack 4";
          plugins.lamp = ../../mappings/hostname;
          trustedKeys.community = "untrusted comment: minisign public key\nRWQ=";
          snapshot.schedule = "*:0/30";
          drift.acknowledged = [
            {
              resource = "hostname/location";
              until = "2026-12-01";
            }
          ];
          cache = {
            warm = true;
            budget = "512M";
            numa = "interleave";
          };
        };
      }
    ];
  };
  names = builtins.filter (name: builtins.match "op-dbus.*" name != null) (
    builtins.attrNames evaluated.config.systemd.units
  );
in
# Without the context, so that reading them builds nothing.
builtins.listToAttrs (
  map (name: {
    inherit name;
    value = builtins.unsafeDiscardStringContext evaluated.config.systemd.units.${name}.text;
  }) names
)
