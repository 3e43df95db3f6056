# services.op-dbus: desired state, applied at boot and whenever the configuration changes it.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.op-dbus;
  format = pkgs.formats.json { };
  stateFile = format.generate "op-dbus-state.json" cfg.state;
  # Of what talks to services on the bus, and to nothing else.
  sandbox = {
    CapabilityBoundingSet = [
      "~CAP_SYS_MODULE"
      "~CAP_SYS_RAWIO"
      "~CAP_SYS_TIME"
      "~CAP_SYS_BOOT"
      "~CAP_SYS_PTRACE"
      "~CAP_SYSLOG"
      "~CAP_MKNOD"
      "~CAP_BPF"
      "~CAP_PERFMON"
    ];
    LockPersonality = true;
    MemoryDenyWriteExecute = true;
    NoNewPrivileges = true;
    PrivateDevices = true;
    PrivateTmp = true;
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHome = "read-only";
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    ProtectSystem = "strict";
    RestrictAddressFamilies = [ "AF_UNIX" ];
    RestrictNamespaces = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    SystemCallFilter = [ "@system-service" ];
  };
in
{
  options.services.op-dbus = {
    enable = lib.mkEnableOption "applying desired state to D-Bus services at boot";

    package = lib.mkPackageOption pkgs "op-dbus" { };

    embed.enable = lib.mkEnableOption "embeddings for other programs, on the socket {file}`/run/op-embed.sock`";

    state = lib.mkOption {
      type = lib.types.submodule {
        freeformType = format.type;
        options.plugins = lib.mkOption {
          type = lib.types.attrsOf (lib.types.attrsOf format.type);
          default = { };
          description = "Desired state by plugin and key. What is not mentioned is left alone.";
        };
      };
      default = { };
      example = lib.literalExpression ''
        {
          plugins.hostname.pretty_hostname = "Build machine";
          plugins.hostname.location = "rack 4";
        }
      '';
      description = ''
        The state document, written to {file}`/etc/op-dbus/state.json`. It is in the world-readable Nix store: refer
        to secrets by name (`{ "$secret" = "NAME"; }`), never write them here. Leave to NixOS what NixOS sets itself,
        or the two will undo each other.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    environment.etc."op-dbus/state.json".source = stateFile;

    # packaging/systemd/op-dbus.service is the same unit for other systems; the two are changed together.
    systemd.services.op-dbus = {
      description = "Apply /etc/op-dbus/state.json to D-Bus services";
      documentation = [ "man:op-dbus(7)" ];
      wantedBy = [ "multi-user.target" ];
      requires = [ "dbus.socket" ];
      after = [
        "dbus.socket"
        "dbus.service"
        "polkit.service"
        "network-online.target"
      ];
      restartTriggers = [ stateFile ];
      unitConfig.ConditionPathExists = "/etc/op-dbus/state.json";
      serviceConfig = sandbox // {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${lib.getExe' cfg.package "op-apply"} /etc/op-dbus/state.json --yes --owner boot";
        TimeoutStartSec = "15min";
        TimeoutStopSec = "5min";
        StateDirectory = "op-dbus";
        UMask = "0077";
      };
    };

    # packaging/systemd/op-dbus-recover.service is the same unit for other systems.
    systemd.services.op-dbus-recover = {
      description = "Take back what op-dbus left half done or nobody confirmed";
      documentation = [ "man:op-dbus(7)" ];
      wantedBy = [ "multi-user.target" ];
      before = [ "op-dbus.service" ];
      requires = [ "dbus.socket" ];
      after = [
        "dbus.socket"
        "dbus.service"
        "polkit.service"
        "NetworkManager.service"
        "systemd-networkd.service"
        "firewalld.service"
      ];
      unitConfig.ConditionPathExists = "/var/lib/op-dbus/@timing/blocks";
      serviceConfig = sandbox // {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${lib.getExe' cfg.package "op-apply"} --recover --lock-timeout 5min";
        TimeoutStartSec = "15min";
        StateDirectory = "op-dbus";
        UMask = "0077";
      };
    };

    # packaging/systemd/op-dbus-check.service and .timer are the same units for other systems.
    systemd.services.op-dbus-check = {
      description = "Look whether the machine still is as /etc/op-dbus/state.json says";
      documentation = [ "man:op-dbus(7)" ];
      requires = [ "dbus.socket" ];
      after = [
        "dbus.socket"
        "dbus.service"
        "op-dbus.service"
      ];
      unitConfig.ConditionPathExists = "/etc/op-dbus/state.json";
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${lib.getExe' cfg.package "op-apply"} --check /etc/op-dbus/state.json --owner boot --acknowledged /etc/op-dbus/acknowledged.json";
        TimeoutStartSec = "5min";

        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        NoNewPrivileges = true;
        PrivateDevices = true;
        PrivateTmp = true;
        ProtectHome = true;
        ProtectSystem = "strict";
        ReadOnlyPaths = [ "/" ];
        RestrictAddressFamilies = [ "AF_UNIX" ];
        RestrictNamespaces = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" ];
      };
    };
    systemd.timers.op-dbus-check = {
      description = "Look every hour whether the machine still is as /etc/op-dbus/state.json says";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnCalendar = "hourly";
        RandomizedDelaySec = "5min";
        Persistent = true;
      };
    };

    # packaging/systemd/op-dbus-snapshot.service and .timer are the same units for other systems.
    systemd.services.op-dbus-snapshot = {
      description = "Take a snapshot of the cache of op-dbus";
      documentation = [ "man:op-dbus(7)" ];
      unitConfig.ConditionPathExists = "/var/lib/op-dbus/@cache";
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${lib.getExe' cfg.package "op-snapshot"} rotate --lock-timeout 5min";
        TimeoutStartSec = "30min";
        StateDirectory = "op-dbus";
        UMask = "0077";
        Nice = 10;
        IOSchedulingClass = "idle";

        CapabilityBoundingSet = [
          "CAP_SYS_ADMIN"
          "CAP_DAC_OVERRIDE"
          "CAP_FOWNER"
        ];
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        NoNewPrivileges = true;
        PrivateDevices = true;
        PrivateNetwork = true;
        PrivateTmp = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHome = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectSystem = "strict";
        RestrictAddressFamilies = [ "none" ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" ];
      };
    };
    systemd.sockets.op-embed = lib.mkIf cfg.embed.enable {
      description = "Embeddings for other programs, on a unix socket";
      documentation = [ "man:op-dbus(7)" ];
      wantedBy = [ "sockets.target" ];
      socketConfig = {
        ListenStream = "/run/op-embed.sock";
        SocketMode = "0600";
      };
    };
    # packaging/systemd/op-embed.service is the same unit for other systems.
    systemd.services.op-embed = lib.mkIf cfg.embed.enable {
      description = "Embeddings for other programs";
      documentation = [ "man:op-dbus(7)" ];
      requires = [ "op-embed.socket" ];
      after = [ "op-embed.socket" ];
      serviceConfig = {
        ExecStart = "${lib.getExe' cfg.package "op-embed"} serve --idle 10min";
        StateDirectory = "op-dbus";
        UMask = "0077";

        CapabilityBoundingSet = "";
        LockPersonality = true;
        NoNewPrivileges = true;
        PrivateNetwork = true;
        PrivateTmp = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHome = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectSystem = "strict";
        RestrictAddressFamilies = [
          "AF_UNIX"
          "AF_INET"
          "AF_INET6"
        ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" ];
      };
    };
    systemd.timers.op-dbus-snapshot = {
      description = "Take a snapshot of the cache of op-dbus every hour";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnCalendar = "hourly";
        Persistent = true;
        AccuracySec = "1min";
      };
    };
  };
}
