# The services that module.nix defines, as plain data, evaluated without nixpkgs: the few functions the module uses stand
# in for its library. For check.sh, which compares them with those in packaging/systemd.
let
  pass = value: value;
  lib = {
    mkEnableOption = pass;
    mkPackageOption = _pkgs: pass;
    mkOption = pass;
    mkIf = condition: value: if condition then value else { };
    literalExpression = pass;
    getExe' = package: name: "${package}/bin/${name}";
    types = {
      submodule = pass;
      attrsOf = pass;
    };
  };
  pkgs.formats.json = _settings: {
    type = "json";
    generate = name: _value: name;
  };
  config.services.op-dbus = {
    enable = true;
    package = "/usr";
    embed.enable = true;
    state = { };
  };
  module = import ./module.nix { inherit config lib pkgs; };
in
module.config.systemd.services
