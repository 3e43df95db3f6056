//! Machines made of folders: one node, two nodes, limits, and files that are missing.

use super::*;
use std::fs;
use tempfile::TempDir;

/// A folder of files that says what a machine says.
fn machine<S: AsRef<str>>(files: &[(S, S)]) -> (TempDir, Machine) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name.as_ref());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{}\n", text.as_ref())).unwrap();
    }
    let machine = Machine { sys: folder.path().join("sys"), proc: folder.path().join("proc") };
    (folder, machine)
}

/// Two nodes of four processors, each with two level-3 caches.
fn two_nodes() -> Vec<(String, String)> {
    let mut files: Vec<_> = [
        ("sys/devices/system/cpu/online", "0-7"),
        ("sys/devices/system/node/online", "0-1"),
        ("sys/devices/system/node/node0/cpulist", "0-3"),
        ("sys/devices/system/node/node1/cpulist", "4-7"),
        ("sys/devices/system/node/node0/distance", "10 21"),
        ("sys/devices/system/node/node1/distance", "21 10"),
        (
            "sys/devices/system/node/node0/meminfo",
            "Node 0 MemTotal:       1048576 kB\nNode 0 MemFree:         524288 kB",
        ),
        (
            "sys/devices/system/node/node1/meminfo",
            "Node 1 MemTotal:       2097152 kB\nNode 1 MemFree:        1048576 kB",
        ),
        ("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-7\nMems_allowed_list:\t0-1"),
    ]
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .into();
    for cpu in 0..8 {
        let name = |file: &str| format!("sys/devices/system/cpu/cpu{cpu}/cache/index3/{file}");
        let shared = ["0-1", "2-3", "4-5", "6-7"][cpu / 2];
        files.extend(
            [("level", "3"), ("size", "32768K"), ("shared_cpu_list", shared)]
                .map(|(f, text)| (name(f), text.to_owned())),
        );
    }
    files
}

fn with(mut files: Vec<(String, String)>, more: &[(&str, &str)]) -> Topology {
    files.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    let more = more.iter().filter(|(_, text)| *text != "missing");
    files.extend(more.map(|(name, text)| ((*name).to_owned(), (*text).to_owned())));
    let (_folder, machine) = machine(&files);
    Topology::read(&machine)
}

fn plan(topology: &Topology, strategy: &str, cpu: u32) -> Plan {
    let wishes = Wishes { strategy: Strategy::parse(strategy).unwrap(), ..Wishes::default() };
    Plan::new(topology, &wishes, cpu).unwrap()
}

fn place(cpus: &[u32], nodes: &[u32]) -> Place {
    Place { cpus: cpus.to_vec(), nodes: nodes.to_vec() }
}

#[test]
fn two_nodes_are_read_and_drawn() {
    let topology = with(two_nodes(), &[]);
    assert_eq!(topology.nodes.len(), 2);
    assert_eq!(
        (topology.nodes[1].cpus.as_slice(), topology.nodes[1].distances.as_slice()),
        (&[4, 5, 6, 7][..], &[21, 10][..])
    );
    assert_eq!(
        (topology.nodes[0].memory_total_bytes, topology.nodes[1].memory_free_bytes),
        (Some(1 << 30), Some(1 << 30))
    );
    assert_eq!(topology.l3_groups.len(), 4);
    assert_eq!(topology.l3_groups[2], CacheGroup { cpus: vec![4, 5], size_bytes: Some(32 << 20), node: 1 });
    assert_eq!(topology.notes, [""; 0]);
    let drawn = topology.draw();
    for line in [
        "NUMA node 0  memory 1.0 GiB, free 512 MiB",
        "  L3 32 MiB     CPUs 2-3",
        "      1    21   10",
        "this process may use CPUs 0-7",
    ] {
        assert!(drawn.lines().any(|l| l == line), "{line}\n{drawn}");
    }
}

#[test]
fn strategies_choose_places() {
    let topology = with(two_nodes(), &[]);
    assert_eq!(plan(&topology, "local", 5).places, [place(&[4, 5], &[1])]);
    assert_eq!(plan(&topology, "local_node", 3).places, [place(&[2, 3], &[0])]);
    assert_eq!(plan(&topology, "node 1", 0).places, [place(&[4, 5], &[1]), place(&[6, 7], &[1])]);
    assert_eq!(plan(&topology, "most_memory", 0).places[0].nodes, [1]);
    let interleaved = plan(&topology, "round_robin", 0);
    assert_eq!((interleaved.places.len(), interleaved.place(6)), (4, &place(&[4, 5], &[0, 1])));
    let replicated = plan(&topology, "replicate", 0);
    assert_eq!((replicated.replicas.as_slice(), &replicated.places[3]), (&[0, 1][..], &place(&[6, 7], &[1])));
    let off = plan(&topology, "disabled", 0);
    assert_eq!((off.places.as_slice(), off.memory_note.as_deref()), (&[place(&[], &[])][..], Some("switched off")));
    let error = Plan::new(&topology, &Wishes { strategy: Strategy::Node(7), ..Wishes::default() }, 0).unwrap_err();
    assert!(error.message.contains("does not exist") && error.hint.unwrap().contains("0-1"));
    assert!(Strategy::parse("nearby").is_err());
}

#[test]
fn limits_of_the_process_hold() {
    let status = "Cpus_allowed_list:\t2,4-5\nMems_allowed_list:\t1";
    let topology = with(two_nodes(), &[("proc/self/status", status)]);
    assert_eq!(topology.allowed_cpus, [2, 4, 5]);
    assert_eq!(topology.l3_groups.iter().map(|g| g.cpus.clone()).collect::<Vec<_>>(), [vec![2], vec![4, 5]]);
    let plan = plan(&topology, "local", 4);
    assert_eq!(
        (plan.places[0].cpus.as_slice(), plan.memory_note.as_deref()),
        (&[4, 5][..], Some("there is one NUMA node"))
    );
    let error = Plan::new(&topology, &Wishes { strategy: Strategy::Node(0), ..Wishes::default() }, 0).unwrap_err();
    assert!(error.message.contains("may not be used"), "{error}");
    for (files, limit) in [
        (
            &[
                ("proc/self/cgroup", "0::/a/b"),
                ("sys/fs/cgroup/a/memory.max", "4096"),
                ("sys/fs/cgroup/a/b/memory.max", "max"),
            ][..],
            Some(4096),
        ),
        (&[("proc/self/cgroup", "0::/a"), ("sys/fs/cgroup/a/memory.max", "max")], None),
        (
            &[
                ("proc/self/cgroup", "5:cpu:/x\n4:memory,x:/m"),
                ("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "1000"),
            ],
            Some(1000),
        ),
        (
            &[
                ("proc/self/cgroup", "4:memory:/m"),
                ("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "9223372036854771712"),
            ],
            None,
        ),
    ] {
        assert_eq!(with(two_nodes(), files).memory_limit_bytes, limit);
    }
}

#[test]
fn one_node_needs_nothing_and_missing_files_are_noted() {
    let one = with(
        two_nodes(),
        &[
            ("sys/devices/system/node/online", "0"),
            ("sys/devices/system/node/node0/cpulist", "0-7"),
            ("sys/devices/system/node/node1/cpulist", "missing"),
            ("sys/devices/system/cpu/online", "0-1"),
        ],
    );
    let plan_of_one = plan(&one, "replicate", 0);
    assert!(plan_of_one.replicas.is_empty() && plan_of_one.cpu_note.is_some() && plan_of_one.memory_note.is_some());
    for step in plan_of_one.take(0) {
        assert!(matches!(step.effect, Effect::NotNeeded(_)), "{step:?}");
    }
    let (_folder, nothing) = machine(&[("proc/self/status", "Cpus_allowed_list:\t0-2")]);
    let topology = Topology::read(&nothing);
    assert_eq!((topology.nodes.len(), topology.nodes[0].cpus.as_slice(), topology.notes.len()), (1, &[0, 1, 2][..], 3));
    let empty = Topology::read(&Machine { sys: "/nonexistent".into(), proc: "/nonexistent".into() });
    assert_eq!((empty.allowed_cpus.as_slice(), plan(&empty, "local", 0).places.len()), (&[0][..], 1));
    // A node of memory alone, and one of processors alone.
    let lopsided = with(
        two_nodes(),
        &[
            ("sys/devices/system/node/node1/cpulist", ""),
            ("sys/devices/system/node/node0/meminfo", "Node 0 MemTotal: 0 kB"),
        ],
    );
    assert_eq!(lopsided.usable_nodes().map(|node| node.id).collect::<Vec<_>>(), [1]);
    assert!(plan(&lopsided, "node 1", 0).cpu_note.unwrap().contains("no processors"));
}

#[test]
fn the_founding_projects_variables_count() {
    let wishes = |pairs: &[(&str, &'static str)]| {
        Wishes::from_variables(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| *value))
    };
    assert_eq!(wishes(&[]).unwrap(), Wishes::default());
    assert_eq!(wishes(&[("STRATEGY", "local_node"), ("NODE_PREFERENCE", "1")]).unwrap().strategy, Strategy::Node(1));
    assert_eq!(wishes(&[("STRATEGY", "replicate"), ("NODE_PREFERENCE", "1")]).unwrap().strategy, Strategy::Replicate);
    assert_eq!(wishes(&[("MEMORY_POLICY", "bind")]).unwrap().memory_policy, MemoryPolicy::Bind);
    assert_eq!(wishes(&[("MEMORY_POLICY", "interleaved")]).unwrap().strategy, Strategy::Interleave);
    assert_eq!(wishes(&[("STRATEGY", "node 1"), ("ENABLED", "false")]).unwrap().strategy, Strategy::Off);
    for bad in [("STRATEGY", "fast"), ("NODE_PREFERENCE", "one"), ("MEMORY_POLICY", "tight")] {
        assert!(wishes(&[bad]).is_err(), "{bad:?}");
    }
}

#[test]
fn this_machine_is_read_and_its_threads_are_placed() {
    let topology = Topology::read(&Machine::default());
    assert!(!topology.allowed_cpus.is_empty() && topology.usable_nodes().count() >= 1, "{topology:?}");
    // On a machine with one node and one cache nothing is needed; elsewhere the kernel does it or says why not.
    std::thread::spawn(move || {
        let steps = Plan::here(&topology, &Wishes::default()).unwrap().take(0);
        assert_eq!(steps.len(), 2);
    })
    .join()
    .unwrap();
}
