use super::super::{Attribute as A, Code, Encoder, Memory, unpack};
use super::*;

const UUID: [u8; 16] = [7; 16];

fn limits() -> Limits {
    Limits { bytes: 1000, entries: 8, depth: 3, name_bytes: 16, commands: 400, time: Duration::from_secs(30) }
}

/// A stream that begins well, with a folder `a`, a file `f` of five bytes, and what `more` adds.
fn stream(more: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 1).unwrap();
    encoder.subvolume("x@v1.0.0", &UUID).unwrap();
    encoder.folder("a").unwrap();
    encoder.file("f", &b"hello"[..]).unwrap();
    more(&mut encoder);
    encoder.end().unwrap();
    bytes
}

fn outcome(bytes: &[u8]) -> Result<Memory> {
    let mut memory = Memory::default();
    let unpacked = unpack(bytes, limits(), &mut memory)?;
    let sizes: Tree = memory.0.iter().map(|(p, c)| (p.clone(), c.as_ref().map(|c| c.len() as u64))).collect();
    assert_eq!(unpacked.tree, sizes, "the gate knows what was made");
    Ok(memory)
}

#[track_caller]
fn refused(why: &str, more: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) {
    let error = outcome(&stream(more)).unwrap_err();
    assert_eq!(error.kind, crate::base::Kind::Untrusted);
    assert!(error.to_string().contains(why), "{error}");
}

fn path(code: Code, path: &[u8]) -> impl FnOnce(&mut Encoder<&mut Vec<u8>>) {
    move |e| e.command(code, &[(A::Path, path)]).unwrap()
}

fn rename(from: &'static str, to: &'static str) -> impl FnOnce(&mut Encoder<&mut Vec<u8>>) {
    move |e| {
        e.command(Code::MAKE_FOLDER, &[(A::Path, b"o9-8-0")]).unwrap();
        e.file("o9-8-0/in", &b"x"[..]).unwrap();
        e.command(Code::RENAME, &[(A::Path, from.as_bytes()), (A::PathTo, to.as_bytes())]).unwrap();
    }
}

fn clone(uuid: [u8; 16], from: &'static [u8], offset: u64, length: u64) -> impl FnOnce(&mut Encoder<&mut Vec<u8>>) {
    move |e| {
        e.file("g", &b""[..]).unwrap();
        e.command(
            Code::CLONE,
            &[
                (A::Path, b"g"),
                (A::FileOffset, &0u64.to_le_bytes()),
                (A::CloneLength, &length.to_le_bytes()),
                (A::CloneUuid, &uuid),
                (A::CloneCtransid, &1u64.to_le_bytes()),
                (A::ClonePath, from),
                (A::CloneOffset, &offset.to_le_bytes()),
            ],
        )
        .unwrap();
    }
}

#[test]
fn an_honest_stream_passes() {
    let memory = outcome(&stream(|e| {
        e.chmod("", 0o755).unwrap();
        e.file("a/ü.json", &b"{}"[..]).unwrap();
        e.command(Code::CHOWN, &[(A::Path, b"f")]).unwrap();
        e.command(Code::SET_XATTR, &[(A::Path, b"f"), (A::XattrName, b"security.selinux")]).unwrap();
        e.command(Code::SET_XATTR, &[(A::Path, b""), (A::XattrName, b"btrfs.compression")]).unwrap();
        e.command(Code::TRUNCATE, &[(A::Path, b"f"), (A::Size, &4u64.to_le_bytes())]).unwrap();
    }));
    let memory = memory.unwrap();
    assert_eq!(memory.file("f"), Some(&b"hell"[..]));
    assert_eq!(memory.file("a/ü.json"), Some(&b"{}"[..]));
    assert_eq!(memory.0.get("a"), Some(&None));
    let moved = outcome(&stream(rename("o9-8-0", "a/b"))).unwrap();
    assert_eq!(moved.file("a/b/in"), Some(&b"x"[..]));
    assert!(!moved.0.contains_key("o9-8-0"));
    assert_eq!(outcome(&stream(clone(UUID, b"f", 1, 3))).unwrap().file("g"), Some(&b"ell"[..]));
}

#[test]
fn what_a_plugin_does_not_need_is_refused() {
    for (code, what) in [
        (Code::SYMBOLIC_LINK, "a symbolic link"),
        (Code::LINK, "a hard link"),
        (Code::UNLINK, "the removal of a file"),
        (Code::REMOVE_FOLDER, "the removal of a folder"),
        (Code::MAKE_DEVICE, "a device"),
        (Code::MAKE_FIFO, "a named pipe"),
        (Code::MAKE_SOCKET, "a socket"),
        (Code::SNAPSHOT, "a snapshot"),
        (Code::UPDATE_EXTENT, "a file without its content"),
        (Code::FALLOCATE, "reserved space"),
        (Code::REMOVE_XATTR, "the removal of an extended attribute"),
        (Code::ENCODED_WRITE, "compressed content"),
        (Code::VERITY, "fs-verity"),
        (Code(27), "the unknown command 27"),
        (Code(0), "the unknown command 0"),
        (Code(u16::MAX), "the unknown command 65535"),
    ] {
        refused(what, path(code, b"f"));
        refused(what, path(code, b""));
    }
    for name in ["security.capability", "user.x", "system.posix_acl_access", "trusted.x", ""] {
        refused("an extended attribute", |e| {
            e.command(Code::SET_XATTR, &[(A::Path, b"f"), (A::XattrName, name.as_bytes())]).unwrap();
        });
    }
    for (path, mode) in [("f", 0o4644), ("f", 0o2644), ("a", 0o2755), ("", 0o1755), ("f", 0x81a4), ("f", u64::MAX)] {
        refused("special permissions", |e| e.chmod(path, mode).unwrap());
    }
    for mode in [0o755, 0o645, 0o744, 0o654] {
        refused("executable", |e| e.chmod("f", mode).unwrap());
    }
}

#[test]
fn paths_stay_inside() {
    for bad in ["../x", "a/../../x", "/x", "/", "a//x", "a/./x", ".", "..", "a/..", "a/", "./x"] {
        let why = "a path";
        refused(why, path(Code::MAKE_FILE, bad.as_bytes()));
        refused(why, path(Code::MAKE_FOLDER, bad.as_bytes()));
        refused(why, |e| e.chmod(bad, 0o644).unwrap());
        refused(why, |e| e.write(bad, 0, b"x").unwrap());
        refused(why, clone(UUID, Vec::leak(bad.as_bytes().to_vec()), 0, 1));
        refused(why, rename("o9-8-0", String::leak(bad.to_owned())));
        refused(why, path(Code::TIMES, bad.as_bytes()));
    }
    for bad in ["a\nb", "a\0b", "\u{1b}[2J", "\u{202e}gpj", "x\u{200b}", "\u{85}", "\u{7f}", "\u{e0041}"] {
        refused("has the character", path(Code::MAKE_FILE, bad.as_bytes()));
    }
    refused("UTF-8", path(Code::MAKE_FILE, b"\xff"));
    refused("is empty", path(Code::MAKE_FILE, b""));
    refused("longer than 16 bytes", path(Code::MAKE_FILE, b"12345678901234567"));
    refused("deeper than 3", path(Code::MAKE_FILE, b"a/b/c/d"));
    refused("deeper than 3", |e| {
        e.folder("o1-1-0").unwrap();
        e.folder("o1-1-0/b").unwrap();
        e.folder("o1-1-0/b/c").unwrap();
        e.command(Code::RENAME, &[(A::Path, b"o1-1-0"), (A::PathTo, b"a/o")]).unwrap();
    });
}

#[test]
fn a_tree_is_made_once_and_in_order() {
    refused("twice", path(Code::MAKE_FILE, b"f"));
    refused("twice", path(Code::MAKE_FOLDER, b"a"));
    refused("twice", rename("o9-8-0", "f"));
    refused("is a file", path(Code::MAKE_FILE, b"f/x"));
    refused("a folder it lacks", path(Code::MAKE_FILE, b"b/x"));
    refused("did not make", |e| e.chmod("b", 0o644).unwrap());
    refused("did not make", path(Code::CHOWN, b"b"));
    refused("into a folder", |e| e.write("a", 0, b"x").unwrap());
    refused("into a folder", |e| e.write("", 0, b"x").unwrap());
    refused("has its name already", rename("a", "b"));
    refused("into itself", rename("o9-8-0", "o9-8-0/in2"));
    refused("before this got its name", path(Code::MAKE_FILE, b"o257-8-0"));
    refused("before this got its name", path(Code::MAKE_FILE, b"a/o257-8-0"));
    assert!(outcome(&stream(path(Code::MAKE_FILE, b"o257-8"))).is_ok());
    refused("a second subvolume", |e| e.subvolume("y", &UUID).unwrap());
    refused("follows the end", |e| e.command(Code::END, &[]).unwrap());
    refused("another subvolume", clone([8; 16], b"f", 0, 1));
    refused("behind the end", clone(UUID, b"f", 3, 3));
    refused("behind the end", clone(UUID, b"f", u64::MAX, 2));
    refused("did not make", clone(UUID, b"h", 0, 1));
    for name in ["", ".", "..", "../x", "/x", "a b/c", "x\n", "12345678901234567"] {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 1).unwrap();
        encoder.subvolume(name, &UUID).unwrap();
        encoder.end().unwrap();
        assert!(outcome(&bytes).unwrap_err().message.contains("the subvolume's name"), "{name:?}");
    }
    for code in [Code::MAKE_FILE, Code::SNAPSHOT, Code::END] {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 1).unwrap();
        encoder.command(code, &[(A::Path, b"f")]).unwrap();
        encoder.end().unwrap();
        assert!(outcome(&bytes).is_err(), "{code:?}");
    }
}

#[test]
fn there_is_only_so_much() {
    refused("writes more than", |e| e.file("b", &[0; 996][..]).map(drop).unwrap());
    refused("writes more than", |e| (0..220).for_each(|_| e.write("f", 0, b"hello").unwrap()));
    refused("larger than 1000", |e| e.write("f", 1 << 62, b"x").unwrap());
    refused("larger than 1000", |e| e.write("f", u64::MAX, b"x").unwrap());
    refused("larger than 1000", |e| {
        e.command(Code::TRUNCATE, &[(A::Path, b"f"), (A::Size, &(1u64 << 62).to_le_bytes())]).unwrap();
    });
    refused("writes more than", |e| {
        clone(UUID, b"f", 0, 5)(e);
        (0..199).for_each(|_| e.write("f", 0, b"hello").unwrap());
    });
    refused("more than 8 files", |e| (0..9).for_each(|i| e.folder(&format!("d{i}")).unwrap()));
    refused("more than 400 commands", |e| (0..400).for_each(|_| e.chmod("f", 0o644).unwrap()));
    let late = Gate::new(Limits { time: Duration::ZERO, ..Limits::default() });
    let mut gate = late;
    std::thread::sleep(Duration::from_millis(2));
    let begin = Command::Subvolume { name: b"x", uuid: UUID, ctransid: 1 };
    assert!(gate.admit(&begin).is_ok());
    let again = Command::Ignored { path: b"" };
    let error = (0..64).find_map(|_| gate.admit(&again).err()).unwrap();
    assert!(error.message.contains("takes longer"), "{error}");
}
