# What module.nix defines, as plain data, evaluated without nixpkgs: the few functions the module uses stand in for its
# library. For check.sh, which compares the services with those in packaging/systemd, and looks that each option is used.
# `options` are the values of services.op-dbus beside the defaults.
{
  options ? { },
}:
let
  pass = value: value;
  lib = {
    mkEnableOption = description: {
      default = false;
      inherit description;
    };
    mkPackageOption = _pkgs: _name: _settings: { default = "/usr"; };
    mkOption = pass;
    mkIf = condition: value: if condition then value else { };
    literalExpression = pass;
    getExe' = package: name: "${package}/bin/${name}";
    optionalAttrs = condition: set: if condition then set else { };
    optionals = condition: list: if condition then list else [ ];
    optionalString = condition: text: if condition then text else "";
    concatStrings = builtins.concatStringsSep "";
    mapAttrsToList = f: set: map (name: f name set.${name}) (builtins.attrNames set);
    nameValuePair = name: value: { inherit name value; };
    mapAttrs' = f: set: builtins.listToAttrs (map (name: f name set.${name}) (builtins.attrNames set));
    types = {
      submodule = pass;
      attrsOf = pass;
      listOf = pass;
      nullOr = pass;
      bool = "bool";
      str = "str";
      lines = "lines";
      path = "path";
    };
  };
  pkgs = {
    formats.json = _settings: {
      type = "json";
      generate = name: _value: "/nix/store/${name}";
    };
    runCommand =
      name: _environment: _script:
      "/nix/store/${name}";
  };
  # An option has a default; a set of options has none.
  defaults =
    declared:
    builtins.mapAttrs (
      _name: value: if value ? default then value.default else defaults value
    ) declared;
  merge =
    one: other:
    one
    // builtins.mapAttrs (
      name: value: if builtins.isAttrs value && one ? ${name} && builtins.isAttrs one.${name} then merge one.${name} value else value
    ) other;
  declared = (import ./module.nix { inherit lib pkgs; config.services.op-dbus = { }; }).options.services.op-dbus;
  config.services.op-dbus = merge (merge (defaults declared) { enable = true; }) options;
  config.systemd.package = "/usr";
  config.virtualisation.vswitch.enable = true;
  module = import ./module.nix { inherit config lib pkgs; };
in
module.config
