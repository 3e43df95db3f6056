# A NixOS machine with a state root on btrfs: a real apply at boot, a reboot, and nothing to do the second time.
{ module }:
{
  name = "op-dbus";

  nodes.machine =
    { pkgs, ... }:
    {
      imports = [ module ];
      virtualisation.emptyDiskImages = [ 1024 ];
      virtualisation.fileSystems."/var/lib/op-dbus" = {
        device = "/dev/vdb";
        fsType = "btrfs";
        autoFormat = true;
      };
      environment.systemPackages = [
        pkgs.btrfs-progs
        pkgs.jq
      ];
      services.op-dbus = {
        enable = true;
        state.plugins.hostname.location = "rack 4";
      };
    };

  testScript = ''
    def location():
        return machine.succeed("hostnamectl --json=short | jq -r .Location").strip()

    def outcomes():
        return machine.succeed("journalctl -b -u op-dbus -o cat").count('"outcome":"applied"')

    machine.wait_for_unit("op-dbus.service")
    assert location() == "rack 4", location()
    assert outcomes() == 1
    machine.succeed("op-query --plugin hostname | op-apply --detailed-exitcode --dry-run")
    machine.succeed("op-snapshot init; systemctl start op-dbus-snapshot.service")
    machine.succeed("btrfs subvolume list /var/lib/op-dbus | grep @cache-snapshots")
    machine.succeed("systemctl start op-dbus-drift.service")
    machine.succeed("hostnamectl location elsewhere")
    machine.fail("systemctl start op-dbus-drift.service")
    machine.succeed("systemctl restart op-dbus")
    assert location() == "rack 4", location()

    machine.shutdown()
    machine.start()
    machine.wait_for_unit("op-dbus.service")
    assert location() == "rack 4", location()
    assert outcomes() == 0, "there was nothing to apply the second time"
    machine.succeed("op-audit verify")
  '';
}
