//! Packages that mean harm, each signed with a trusted key: what is refused is refused for what it is. Afterwards nothing
//! outside the state root was touched, nothing is left in it, and 64 MiB of memory were enough (the harness gives no more).

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::base::digest::Plain;
use op_dbus::package::stream::{Attribute as A, Code, Encoder};
use op_dbus_tests::publisher::{MANIFEST, Publisher, UUID, compress, picture, stream, stream_of};
use std::fs;
use std::io::Write;
use std::path::Path;

type Stream = Encoder<Vec<u8>>;

/// A desk with things around it that a package could reach for.
fn desk() -> Publisher {
    let desk = Publisher::new();
    fs::create_dir(desk.path().join("secret")).unwrap();
    fs::write(desk.path().join("secret/key"), "the secret").unwrap();
    fs::write(desk.path().join("todelete"), "still here").unwrap();
    fs::create_dir(desk.root()).unwrap();
    fs::write(desk.root().join("todelete"), "still here").unwrap();
    desk
}

/// Installs, and expects it to be refused with this code, for this reason, without a trace.
#[track_caller]
fn refused(desk: &Publisher, package: &Path, code: i32, why: &str) {
    let before = picture(desk.path());
    let ended = desk.install(package, &[]);
    let said = ended.error();
    assert_eq!(ended.code, code, "{why}: {ended:?}");
    assert!(said.contains(why), "{why} is not in {said}");
    assert_eq!(ended.stdout, "");
    // Beside the lock there is what the audit trail says of it.
    let is_known = |path: &str| {
        let volumes = ["root/@timing", "root/@cache"];
        path == "root/.lock" || volumes.iter().any(|volume| path == *volume || path.starts_with(&format!("{volume}/")))
    };
    let (mut before, mut after) = (before, picture(desk.path()));
    [&mut before, &mut after].into_iter().for_each(|picture| picture.retain(|path, _| !is_known(path)));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "{why}");
    assert!(before == after, "{why}: something was changed");
    let told = desk.run("op-audit", &["log"]);
    let told = told.stdout.lines().last().unwrap_or_default();
    let told: serde_json::Value = serde_json::from_str(told).unwrap();
    assert_eq!((&told["header"]["kind"], &told["header"]["detail"]["verb"]), (&"refusal".into(), &"install".into()));
    let message = told["header"]["detail"]["error"]["message"].to_string();
    assert!(said.contains(&message), "{said}: {message}");
}

#[track_caller]
fn refused_stream(desk: &Publisher, why: &str, more: impl FnOnce(&mut Stream)) {
    refused(desk, &desk.offer(&stream(more)), 7, why);
}

fn link(e: &mut Stream, name: &str, target: &str) {
    e.command(Code::SYMBOLIC_LINK, &[(A::Path, name.as_bytes()), (A::Ino, &[1; 8]), (A::PathLink, target.as_bytes())])
        .unwrap();
}

fn clone(e: &mut Stream, uuid: [u8; 16], from: &str) {
    e.file("copy", &b""[..]).unwrap();
    let (zero, one) = (0u64.to_le_bytes(), 1u64.to_le_bytes());
    let attributes: [(A, &[u8]); 7] = [
        (A::Path, b"copy"),
        (A::FileOffset, &zero),
        (A::CloneLength, &one),
        (A::CloneUuid, &uuid),
        (A::CloneCtransid, &one),
        (A::ClonePath, from.as_bytes()),
        (A::CloneOffset, &zero),
    ];
    e.command(Code::CLONE, &attributes).unwrap();
}

/// The table of forged streams that `btrfs receive` obeys, row by row.
#[test]
fn forged_streams() {
    let desk = desk();
    assert_eq!(desk.install(&desk.offer(&stream(|_| ())), &["--dry-run"]).code, 0, "without harm it would pass");
    let secret = desk.path().join("secret/key");
    let secret = secret.to_str().unwrap();
    refused_stream(&desk, "a symbolic link", |e| {
        link(e, "link", secret);
        e.write("link", 0, b"overwritten").unwrap();
    });
    refused_stream(&desk, "a symbolic link", |e| {
        link(e, "folder", desk.path().to_str().unwrap());
        e.file("folder/escaped", &b"x"[..]).unwrap();
    });
    refused_stream(&desk, "leads elsewhere", |e| {
        e.file("../../../escaped", &b"x"[..]).unwrap();
    });
    refused_stream(&desk, "is absolute", |e| {
        e.file(&format!("{secret}.escaped"), &b"x"[..]).unwrap();
    });
    refused_stream(&desk, "the removal of a file", |e| {
        e.command(Code::UNLINK, &[(A::Path, b"../../todelete")]).unwrap();
    });
    refused_stream(&desk, "leads elsewhere", |e| clone(e, UUID, "../../../secret/key"));
    refused_stream(&desk, "content from another subvolume", |e| clone(e, [9; 16], "secret"));
    refused_stream(&desk, "special permissions", |e| e.chmod("plugin.toml", 0o6755).unwrap());
    for code in [Code::MAKE_DEVICE, Code::MAKE_FIFO, Code::MAKE_SOCKET] {
        refused_stream(&desk, code.what().unwrap(), |e| {
            let numbers = 0o20666u64.to_le_bytes();
            let attributes: [(A, &[u8]); 4] =
                [(A::Path, b"device"), (A::Ino, &numbers), (A::Rdev, &numbers), (A::Mode, &numbers)];
            e.command(code, &attributes).unwrap();
        });
    }
    refused_stream(&desk, "an extended attribute", |e| {
        let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let attributes: [(A, &[u8]); 3] =
            [(A::Path, b"plugin.toml"), (A::XattrName, b"security.capability"), (A::XattrData, &capability)];
        e.command(Code::SET_XATTR, &attributes).unwrap();
    });
    refused_stream(&desk, "larger than", |e| {
        e.command(Code::TRUNCATE, &[(A::Path, b"plugin.toml"), (A::Size, &(1u64 << 62).to_le_bytes())]).unwrap();
    });
    refused_stream(&desk, "a second subvolume", |e| e.subvolume("planted", &UUID).unwrap());
    for (old, new) in [("plugin.toml", "../root/@plugin-other"), ("o1-1-0", "../../escaped"), ("../todelete", "x")] {
        refused_stream(&desk, "", |e| {
            e.folder("o1-1-0").unwrap();
            e.command(Code::RENAME, &[(A::Path, old.as_bytes()), (A::PathTo, new.as_bytes())]).unwrap();
        });
        refused_stream(&desk, "a hard link", |e| {
            e.command(Code::LINK, &[(A::Path, new.as_bytes()), (A::PathLink, old.as_bytes())]).unwrap();
        });
    }
    for name in ["../x", "/x", "a/b", "..", ".", "", "a\nb", &"x".repeat(300)] {
        let forged = stream_of(name, &[("plugin.toml", MANIFEST.as_bytes())], |_| ());
        refused(&desk, &desk.offer(&forged), 7, "the subvolume's name");
    }
    let mut snapshot = Encoder::new(Vec::new(), 1).unwrap();
    let one = 1u64.to_le_bytes();
    let attributes: [(A, &[u8]); 5] = [
        (A::Path, b"lamp@v1.0.0"),
        (A::Uuid, &UUID),
        (A::Ctransid, &one),
        (A::CloneUuid, &[9; 16]),
        (A::CloneCtransid, &one),
    ];
    snapshot.command(Code::SNAPSHOT, &attributes).unwrap();
    refused(&desk, &desk.offer(&snapshot.end().unwrap()), 7, "a snapshot of another subvolume");
    // Beyond that table.
    refused_stream(&desk, "executable", |e| e.chmod("plugin.toml", 0o755).unwrap());
    refused_stream(&desk, "twice", |e| {
        e.file("plugin.toml", MANIFEST.as_bytes()).unwrap();
    });
    refused_stream(&desk, "has the character", |e| {
        e.file("a\u{1b}[2J", &b""[..]).unwrap();
    });
    refused_stream(&desk, "longer than", |e| {
        e.file(&"n".repeat(300), &b""[..]).unwrap();
    });
    refused_stream(&desk, "deeper than", |e| {
        (1..10).for_each(|depth| e.folder(&vec!["d"; depth].join("/")).unwrap());
    });
    refused_stream(&desk, "more than 4096 files", |e| (0..5000).for_each(|i| e.folder(&format!("d{i}")).unwrap()));
}

/// Where the commands of a stream end.
fn boundaries(stream: &[u8]) -> Vec<usize> {
    let mut at = 17;
    let mut found = vec![at];
    while at < stream.len() {
        at += 10 + u32::from_le_bytes(stream[at..at + 4].try_into().unwrap()) as usize;
        found.push(at);
    }
    found
}

/// Numbers that are the same each time.
fn numbers(count: usize, below: usize) -> impl Iterator<Item = usize> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..count).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    })
}

/// A plugin that is large enough to be cut in many places.
fn larger() -> Vec<u8> {
    stream(|e| {
        e.folder("examples").unwrap();
        for i in 0..12 {
            e.file(
                &format!("examples/{i}.json"),
                format!("{{\"version\":1,\"plugins\":{{\"lamp\":{{\"n\":{i}}}}}}}").as_bytes(),
            )
            .unwrap();
        }
    })
}

#[test]
fn cut_off_anywhere() {
    let desk = desk();
    let whole = larger();
    let ends = boundaries(&whole);
    assert!(ends.len() > 40 && ends.last() == Some(&whole.len()));
    let inside: Vec<usize> = numbers(200, whole.len()).collect();
    for end in ends[..ends.len() - 1].iter().chain(&inside).copied() {
        let why = if end < 17 { "no btrfs send stream" } else { "cut off" };
        // What is cut off in the first seventeen bytes is no stream; if nothing is left, nothing was one.
        let why = if (1..17).contains(&end) { "cut off" } else { why };
        refused(&desk, &desk.offer(&whole[..end]), 7, why);
    }
    let package = compress(&whole);
    for end in numbers(40, package.len()) {
        refused(&desk, &desk.offer_bytes(&package[..end]), 7, "");
    }
    assert_eq!(desk.install(&desk.offer(&whole), &[]).code, 0);
}

#[test]
fn a_bit_that_was_turned_over() {
    let desk = desk();
    let whole = larger();
    for at in numbers(100, whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        // A version is not covered by a checksum, but 1 and 2 differ in more than one bit.
        refused(&desk, &desk.offer(&bytes), 7, "");
    }
    let package = compress(&whole);
    let good = desk.offer_bytes(&package);
    for at in numbers(60, package.len()) {
        let mut bytes = package.clone();
        bytes[at] ^= 1 << (at % 8);
        refused(&desk, &desk.offer_bytes(&bytes), 7, "");
        // Signed before it was changed.
        let _ = desk.offer_bytes(&package);
        fs::write(&good, &bytes).unwrap();
        refused(&desk, &good, 7, "not that of these bytes");
    }
}

#[test]
fn lengths_that_lie() {
    let desk = desk();
    let begin = &stream(|_| ())[..17];
    for length in [u32::MAX, 0xffff_fff0, 1 << 31, (256 << 10) + 1] {
        let lie = [begin, &length.to_le_bytes(), &[1, 0, 0, 0, 0, 0]].concat();
        refused(&desk, &desk.offer(&lie), 7, "is the most");
    }
    let short = [begin, &8u32.to_le_bytes(), &[1, 0], &[0; 4], &15u16.to_le_bytes(), &60_000u16.to_le_bytes(), b"abcd"];
    let mut short = short.concat();
    // With the right checksum, so that the length inside is what is wrong.
    let sum = crc32c(&[&short[17..23], &[0; 4], &short[27..]].concat());
    short[23..27].copy_from_slice(&sum.to_le_bytes());
    refused(&desk, &desk.offer(&short), 7, "60000 bytes long; 4 are left");
}

/// The slow way, to check the library's own.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

#[test]
fn bombs() {
    let desk = desk();
    // A gigabyte of zeros instead of a stream, after its beginning, and after its end.
    let good = stream(|_| ());
    for start in [&b""[..], &good[..17], &good] {
        let package = zstd(&["-3"], |to| {
            to.write_all(start)?;
            let block = vec![0; 1 << 20];
            (0..1 << 10).try_for_each(|_| to.write_all(&block))
        });
        assert!(package.len() < 1 << 20);
        refused(&desk, &desk.offer_bytes(&package), 7, "");
    }
    // Files that are much larger than their package.
    refused_stream(&desk, "writes more than", |e| {
        let block = vec![0; 48 << 10];
        e.file("zeros", &b""[..]).unwrap();
        (0..600).for_each(|i| e.write("zeros", i * (48 << 10), &block).unwrap());
    });
    // The same place again and again.
    refused_stream(&desk, "writes more than", |e| {
        let block = vec![0; 48 << 10];
        e.file("zeros", &b""[..]).unwrap();
        (0..600).for_each(|_| e.write("zeros", 0, &block).unwrap());
    });
    // Copies of copies.
    refused_stream(&desk, "writes more than", |e| {
        e.file("copy0", &vec![0; 1 << 20][..]).unwrap();
        for i in 1..30 {
            let name = format!("copy{i}");
            e.file(&name, &b""[..]).unwrap();
            let attributes: [(A, &[u8]); 7] = [
                (A::Path, name.as_bytes()),
                (A::FileOffset, &[0; 8]),
                (A::CloneLength, &(1u64 << 20).to_le_bytes()),
                (A::CloneUuid, &UUID),
                (A::CloneCtransid, &1u64.to_le_bytes()),
                (A::ClonePath, b"copy0"),
                (A::CloneOffset, &[0; 8]),
            ];
            e.command(Code::CLONE, &attributes).unwrap();
        }
    });
    // Commands without end.
    refused_stream(&desk, "commands", |e| (0..200_001).for_each(|_| e.chmod("plugin.toml", 0o644).unwrap()));
    // A compressor that wants to remember much.
    let mut greedy = zstd_with_window(&good, 27);
    refused(&desk, &desk.offer_bytes(&greedy), 7, "cannot be");
    greedy = zstd_with_window(&good, 20);
    assert_eq!(desk.install(&desk.offer_bytes(&greedy), &["--dry-run"]).code, 0);
    // Larger than any package may be.
    refused(&desk, &desk.offer_bytes(&vec![0; (16 << 20) + 1]), 7, "larger than");
}

fn zstd_with_window(stream: &[u8], window: u32) -> Vec<u8> {
    zstd(&[&format!("--long={window}")], |to| to.write_all(stream))
}

/// What the stock program makes of what `write` gives it.
fn zstd(args: &[&str], write: impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send) -> Vec<u8> {
    let mut child = std::process::Command::new("zstd")
        .args(["-q", "-c"])
        .args(args)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || write(&mut to).unwrap());
        child.wait_with_output().unwrap().stdout
    })
}

#[test]
fn another_than_it_says() {
    let desk = desk();
    let bytes = compress(&stream(|_| ()));
    let sum = Plain::of(&bytes);
    let comment =
        |name: &str, version: &str, sum: &str| format!("op-dbus-package/1 name={name} version={version} sha256={sum}");
    let file = "lamp-v1.0.0.btrfs.zst";
    let own = comment("lamp", "1.0.0", &sum);
    for (file, comment, why) in [
        (file, comment("lump", "1.0.0", &sum), "its signature says lump 1.0.0"),
        (file, comment("lamp", "1.0.1", &sum), "its signature says lamp 1.0.1"),
        (file, comment("lamp", "1.0.0", &Plain::of(b"other")), "another digest"),
        (file, comment("../lamp", "1.0.0", &sum), "does not say which package"),
        (file, format!("{own} tree={}", Plain::of(b"other")), "another tree"),
        (file, "timestamp:1\tfile:lamp-v1.0.0.btrfs.zst\thashed".to_owned(), "does not say which package"),
        ("lump-v1.0.0.btrfs.zst", own.clone(), "its file's name says lump 1.0.0"),
        ("lamp-v9.0.0.btrfs.zst", own.clone(), "its file's name says lamp 9.0.0"),
    ] {
        refused(&desk, &desk.offer_as(file, &bytes, &comment), 7, why);
    }
    for subvolume in ["lump@v1.0.0", "lamp@v1.0.1", "lamp@v"] {
        let forged = stream_of(subvolume, &[("plugin.toml", MANIFEST.as_bytes())], |_| ());
        refused(&desk, &desk.offer(&forged), 7, "its subvolume's name says");
    }
    let package = desk.offer_as(file, &bytes, &own);
    fs::write(desk.beside(file, "sha256"), format!("{}  {file}\n", Plain::of(b"other"))).unwrap();
    refused(&desk, &package, 7, "another checksum");
    fs::remove_file(desk.beside(file, "sha256")).unwrap();
    // Signed by somebody else; by nobody.
    let stranger = Publisher::new();
    let foreign = stranger.key().sign_with_comment(&bytes, &own).unwrap();
    fs::write(desk.beside(file, "minisig"), foreign).unwrap();
    refused(&desk, &package, 7, "not trusted");
    fs::write(desk.beside(file, "minisig"), "nonsense").unwrap();
    refused(&desk, &package, 7, "cannot be read");
    fs::remove_file(desk.beside(file, "minisig")).unwrap();
    refused(&desk, &package, 7, "not signed");
    assert_eq!(desk.install(&package, &["--allow-unsigned"]).json()["trust"], "generated");
}

#[test]
fn plugins_that_cannot_be_read() {
    let desk = desk();
    let with = |manifest: &[u8]| stream_of("x", &[("plugin.toml", manifest)], |_| ());
    let renamed = |name: &str| MANIFEST.replace("lamp", name).into_bytes();
    let long = "a".repeat(300);
    for name in ["a/b", "..", "../lamp", "a b", &long, "Lamp", "snapshots", "a\\n", ".staging-x", "-x"] {
        refused(&desk, &desk.offer(&with(&renamed(name))), 65, "");
    }
    for name in ["net", "lxc", "openflow", "netmaker"] {
        refused(&desk, &desk.offer(&with(&renamed(name))), 7, "built in");
    }
    refused(&desk, &desk.offer(&with(format!("{MANIFEST}source = \"built-in\"\n").as_bytes())), 7, "built in");
    // A package of what is built in is text; it does not say what is run on a host.
    let built_in = "[plugin]\nname = \"lxc\"\nversion = \"1.0.0\"\nsource = \"built-in\"\n";
    let settings = format!("{built_in}[settings]\npct = \"/tmp/evil\"\n");
    refused(&desk, &desk.offer(&with(settings.as_bytes())), 7, "where things are on a host");
    let files: [(&str, &[u8]); 2] = [("plugin.toml", built_in.as_bytes()), ("semantic-mapping.toml", b"")];
    refused(&desk, &desk.offer(&stream_of("x", &files, |_| ())), 7, "has no mapping");
    for (manifest, why) in [
        (&b"\xff\xfe"[..], "UTF-8"),
        (b"", "missing field"),
        (b"[plugin", ""),
        (format!("{MANIFEST}trust = \"core\"\n").as_bytes(), "trust"),
        (format!("{MANIFEST}[capabilities]\nexecute = true\n").as_bytes(), "execute"),
        (format!("x = {}", "[".repeat(100_000)).as_bytes(), ""),
        (format!("x = {}", "{a=".repeat(100_000)).as_bytes(), ""),
        (MANIFEST.replace("1.0.0", "1").as_bytes(), "no version"),
        (MANIFEST.replace("1.0.0", "../../x").as_bytes(), "no version"),
        (MANIFEST.replace("org.example.Lamp", "not a name").as_bytes(), "names the service"),
        (format!("{MANIFEST}[dependencies]\n\"../x\" = \"*\"\n").as_bytes(), "dependencies.../x"),
    ] {
        refused(&desk, &desk.offer(&with(manifest)), 65, why);
    }
    refused(&desk, &desk.offer(&stream_of("x", &[], |_| ())), 65, "no plugin.toml");
    refused(&desk, &desk.offer(&stream_of("x", &[], |e| e.folder("plugin.toml").unwrap())), 65, "");
    let deep = "[".repeat(100_000);
    for (file, text) in [
        ("semantic-mapping.toml", "[state_mapping.x]\nunknown = 1\n"),
        ("semantic-mapping.toml", "[methods.x]\nsafe = \"yes\"\n"),
        ("introspection.xml", "<!DOCTYPE x [<!ENTITY a \"b\">]><node>&a;</node>"),
        ("introspection-2.xml", "<node>"),
        ("examples/a.json", "{"),
        ("examples/a.json", &deep),
    ] {
        let forged = stream(|e| {
            e.folder("examples").unwrap();
            e.file(file, text.as_bytes()).unwrap();
        });
        refused(&desk, &desk.offer(&forged), 65, file);
    }
}
