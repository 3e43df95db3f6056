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
  program = name: lib.getExe' cfg.package name;

  # The shipped mappings and those of this configuration in one folder, which the programs are told of.
  mappings = pkgs.runCommand "op-dbus-mappings" { } ''
    mkdir $out
    cp -r ${cfg.package}/share/op-dbus/mappings/. $out
    chmod -R u+w $out
    ${lib.concatStrings (
      lib.mapAttrsToList (name: folder: ''
        rm -rf $out/${name}
        cp -r ${folder} $out/${name}
      '') cfg.plugins
    )}
  '';
  environment = lib.optionalAttrs (cfg.plugins != { }) { OP_DBUS_MAPPINGS = "${mappings}"; };

  hardened = lib.optionalAttrs cfg.hardening;

  # packaging/systemd has the same units for other systems; check.sh compares the services.
  applying = hardened {
    CapabilityBoundingSet = [
      "~CAP_SYS_MODULE"
      "~CAP_SYS_RAWIO"
      "~CAP_SYS_TIME"
      "~CAP_SYS_BOOT"
      "~CAP_SYS_PTRACE"
      "~CAP_SYSLOG"
      "~CAP_BPF"
      "~CAP_PERFMON"
    ];
    LockPersonality = true;
    NoNewPrivileges = true;
    PrivateTmp = true;
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHome = "read-only";
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectSystem = true;
    RestrictAddressFamilies = [
      "AF_UNIX"
      "AF_NETLINK"
      "AF_INET"
      "AF_INET6"
    ];
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    SystemCallFilter = [
      "@system-service"
      "@mount"
    ];
  };
  # What neither changes the machine nor runs other programs.
  reading = hardened {
    LockPersonality = true;
    NoNewPrivileges = true;
    PrivateDevices = true;
    PrivateTmp = true;
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHome = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    ProtectSystem = "strict";
    RestrictNamespaces = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    SystemCallFilter = [ "@system-service" ];
  };
  documentation = [ "man:op-dbus(7)" ];
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

    plugins = lib.mkOption {
      type = lib.types.attrsOf lib.types.path;
      default = { };
      example = lib.literalExpression "{ lamp = ./plugins/lamp; }";
      description = ''
        Plugins beside the shipped ones, by name: folders with a {file}`plugin.toml`. One of a shipped plugin's name
        takes its place. Plugins that {command}`op-install` put into the state root still win.
      '';
    };

    trustedKeys = lib.mkOption {
      type = lib.types.attrsOf lib.types.lines;
      default = { };
      example = lib.literalExpression "{ community = builtins.readFile ./community.pub; }";
      description = "Public keys of publishers whose packages may be installed, as minisign writes them, by name.";
    };

    snapshot = {
      enable = lib.mkOption {
        type = lib.types.bool;
        default = true;
        description = "Whether to take snapshots of the cache. The newest 24 are kept.";
      };
      schedule = lib.mkOption {
        type = lib.types.str;
        default = "hourly";
        description = "When, as {manpage}`systemd.time(7)` writes it. There is at most one for each hour.";
      };
    };

    drift = {
      enable = lib.mkOption {
        type = lib.types.bool;
        default = true;
        description = "Whether to look if the machine still is as {option}`services.op-dbus.state` says.";
      };
      schedule = lib.mkOption {
        type = lib.types.str;
        default = "hourly";
        description = "When, as {manpage}`systemd.time(7)` writes it.";
      };
      acknowledged = lib.mkOption {
        type = lib.types.listOf (lib.types.attrsOf lib.types.str);
        default = [ ];
        example = lib.literalExpression ''
          [ { resource = "hostname/location"; until = "2026-12-01"; reason = "moving"; } ]
        '';
        description = "Differences that are known, each with the moment until which they are fine.";
      };
    };

    cache = {
      warm = lib.mkOption {
        type = lib.types.bool;
        default = false;
        description = "Whether to read ahead, after the boot, the embeddings that will be asked for.";
      };
      budget = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        example = "512M";
        description = "The most that is read ahead; what {command}`op-embed` finds sensible when not said.";
      };
      numa = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        example = "interleave";
        description = ''
          Where what is read ahead is placed: `local`, `node N`, `most-memory`, `interleave`, `replicate` or `off`.
        '';
      };
    };

    hardening = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = "Whether the services give up what their work does not need. Turn it off to find out if that is why something fails.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    environment.variables = environment;
    environment.etc = {
      "op-dbus/state.json".source = stateFile;
      "op-dbus/acknowledged.json".source = format.generate "op-dbus-acknowledged.json" {
        kind = "acknowledged";
        version = 1;
        drift = cfg.drift.acknowledged;
      };
    }
    // lib.mapAttrs' (name: text: lib.nameValuePair "op-dbus/trusted-keys.d/${name}.pub" { inherit text; }) cfg.trustedKeys;

    # Whoever is in it may do what a copy of the example polkit rule allows.
    users.groups.op-dbus = { };

    systemd.services.op-dbus = {
      description = "Apply /etc/op-dbus/state.json to D-Bus services";
      inherit documentation environment;
      wantedBy = [ "multi-user.target" ];
      requires = [ "dbus.socket" ];
      after = [
        "dbus.socket"
        "dbus.service"
        "polkit.service"
        "network-online.target"
        "ovs-vswitchd.service"
      ];
      restartTriggers = [ stateFile ];
      unitConfig.ConditionPathExists = "/etc/op-dbus/state.json";
      serviceConfig = applying // {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${program "op-apply"} /etc/op-dbus/state.json --yes --owner boot";
        NotifyAccess = "main";
        TimeoutStartSec = "15min";
        TimeoutStopSec = "5min";
        StateDirectory = "op-dbus";
        UMask = "0077";
      };
    };

    # Open vSwitch forgets flows when it is started again.
    systemd.services.op-dbus-flows = {
      description = "Apply /etc/op-dbus/state.json again when Open vSwitch has started";
      inherit documentation;
      wantedBy = lib.optionals config.virtualisation.vswitch.enable [ "ovs-vswitchd.service" ];
      partOf = [ "ovs-vswitchd.service" ];
      after = [ "ovs-vswitchd.service" ];
      before = [ "op-dbus.service" ];
      unitConfig.ConditionPathExists = "/etc/op-dbus/state.json";
      unitConfig.StartLimitIntervalSec = 0;
      serviceConfig =
        reading
        // hardened {
          CapabilityBoundingSet = "";
          MemoryDenyWriteExecute = true;
          PrivateNetwork = true;
          ProcSubset = "pid";
          ProtectProc = "invisible";
          RestrictAddressFamilies = "AF_UNIX";
          SystemCallFilter = [
            "@system-service"
            "~@privileged"
            "~@resources"
          ];
        }
        // {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${lib.getExe' config.systemd.package "systemctl"} --no-block restart op-dbus.service";
          UMask = "0077";
        };
    };

    systemd.services.op-dbus-recover = {
      description = "Take back what op-dbus left half done or nobody confirmed";
      inherit documentation environment;
      wantedBy = [ "multi-user.target" ];
      requires = [ "dbus.socket" ];
      after = [
        "dbus.socket"
        "dbus.service"
        "polkit.service"
        "NetworkManager.service"
        "systemd-networkd.service"
        "firewalld.service"
        "ovs-vswitchd.service"
      ];
      before = [ "op-dbus.service" ];
      unitConfig.ConditionPathExists = "/var/lib/op-dbus/@timing/blocks";
      serviceConfig = applying // {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${program "op-apply"} --recover --lock-timeout 5min";
        NotifyAccess = "main";
        TimeoutStartSec = "15min";
        StateDirectory = "op-dbus";
        UMask = "0077";
      };
    };

    systemd.services.op-dbus-drift = {
      description = "Look whether the machine still is as /etc/op-dbus/state.json says";
      inherit documentation environment;
      requires = [ "dbus.socket" ];
      after = [
        "dbus.socket"
        "dbus.service"
        "op-dbus.service"
      ];
      unitConfig.ConditionPathExists = "/etc/op-dbus/state.json";
      serviceConfig =
        reading
        // hardened {
          CapabilityBoundingSet = [
            "CAP_DAC_READ_SEARCH"
            "CAP_NET_ADMIN"
            "CAP_SYS_ADMIN"
          ];
          MemoryDenyWriteExecute = true;
          PrivateMounts = true;
          ReadOnlyPaths = "/";
          RestrictAddressFamilies = [
            "AF_UNIX"
            "AF_NETLINK"
            "AF_INET"
            "AF_INET6"
          ];
          SystemCallFilter = [
            "@system-service"
            "~@privileged"
          ];
        }
        // {
          Type = "oneshot";
          ExecStart = "${program "op-apply"} --check /etc/op-dbus/state.json --owner boot --acknowledged /etc/op-dbus/acknowledged.json";
          NotifyAccess = "main";
          TimeoutStartSec = "5min";
          UMask = "0077";
        };
    };
    systemd.timers.op-dbus-drift = {
      inherit (cfg.drift) enable;
      description = "Look regularly whether the machine still is as /etc/op-dbus/state.json says";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnCalendar = cfg.drift.schedule;
        RandomizedDelaySec = "5min";
        Persistent = true;
      };
    };

    systemd.services.op-dbus-snapshot = {
      description = "Take a snapshot of the cache of op-dbus";
      inherit documentation environment;
      unitConfig.ConditionPathExists = "/var/lib/op-dbus/@cache";
      serviceConfig =
        reading
        // hardened {
          CapabilityBoundingSet = [
            "CAP_SYS_ADMIN"
            "CAP_DAC_OVERRIDE"
            "CAP_FOWNER"
          ];
          MemoryDenyWriteExecute = true;
          PrivateNetwork = true;
          RestrictAddressFamilies = [ "none" ];
        }
        // {
          Type = "oneshot";
          ExecStart = "${program "op-snapshot"} rotate --lock-timeout 5min";
          TimeoutStartSec = "30min";
          StateDirectory = "op-dbus";
          UMask = "0077";
          Nice = 10;
          IOSchedulingClass = "idle";
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
      # A GPU is a device.
      serviceConfig =
        builtins.removeAttrs reading [ "PrivateDevices" ]
        // hardened {
          CapabilityBoundingSet = "";
          PrivateNetwork = true;
          RestrictAddressFamilies = [
            "AF_UNIX"
            "AF_INET"
            "AF_INET6"
          ];
        }
        // {
          ExecStart = "${program "op-embed"} serve --idle 10min";
          StateDirectory = "op-dbus";
          UMask = "0077";
        };
    };
    systemd.timers.op-dbus-snapshot = {
      inherit (cfg.snapshot) enable;
      description = "Take a snapshot of the cache of op-dbus every hour";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnCalendar = cfg.snapshot.schedule;
        Persistent = true;
        AccuracySec = "1min";
      };
    };

    systemd.services.op-dbus-warm = {
      description = "Read ahead the embeddings that will be asked for";
      inherit documentation environment;
      wantedBy = lib.optionals cfg.cache.warm [ "multi-user.target" ];
      unitConfig.ConditionPathExists = "/var/lib/op-dbus/@cache/embeddings/index.db";
      serviceConfig =
        reading
        // hardened {
          CapabilityBoundingSet = [ "CAP_SYS_NICE" ];
          PrivateNetwork = true;
          RestrictAddressFamilies = [ "none" ];
        }
        // {
          Type = "oneshot";
          ExecStart =
            "${program "op-embed"} warm"
            + lib.optionalString (cfg.cache.budget != null) " --budget ${cfg.cache.budget}"
            + lib.optionalString (cfg.cache.numa != null) " --numa '${cfg.cache.numa}'";
          TimeoutStartSec = "10min";
          StateDirectory = "op-dbus";
          UMask = "0077";
          Nice = 19;
          IOSchedulingClass = "idle";
        };
    };
  };
}
