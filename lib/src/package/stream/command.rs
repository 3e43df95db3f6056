//! The commands of a stream, and their attributes.

/// Which command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u16);

macro_rules! codes {
    ($($name:ident = $number:literal: $what:literal;)*) => {
        impl Code {
            $(#[doc = concat!("Command ", $number, ": ", $what, ".")] pub const $name: Self = Self($number);)*

            /// What the command makes or does, for people.
            #[must_use]
            pub fn what(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some($what),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    SUBVOLUME = 1: "a subvolume";
    SNAPSHOT = 2: "a snapshot of another subvolume";
    MAKE_FILE = 3: "a file";
    MAKE_FOLDER = 4: "a folder";
    MAKE_DEVICE = 5: "a device";
    MAKE_FIFO = 6: "a named pipe";
    MAKE_SOCKET = 7: "a socket";
    SYMBOLIC_LINK = 8: "a symbolic link";
    RENAME = 9: "a name";
    LINK = 10: "a hard link";
    UNLINK = 11: "the removal of a file";
    REMOVE_FOLDER = 12: "the removal of a folder";
    SET_XATTR = 13: "an extended attribute";
    REMOVE_XATTR = 14: "the removal of an extended attribute";
    WRITE = 15: "content";
    CLONE = 16: "content that is somewhere already";
    TRUNCATE = 17: "a size";
    CHMOD = 18: "permissions";
    CHOWN = 19: "an owner";
    TIMES = 20: "times";
    END = 21: "the end";
    UPDATE_EXTENT = 22: "a file without its content";
    FALLOCATE = 23: "reserved space";
    FILE_ATTRIBUTES = 24: "file attributes";
    ENCODED_WRITE = 25: "compressed content";
    VERITY = 26: "a file that is sealed with fs-verity";
}

/// Which attribute of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
#[allow(missing_docs, reason = "named as btrfs names them")]
pub enum Attribute {
    Uuid = 1,
    Ctransid = 2,
    Ino = 3,
    Size = 4,
    Mode = 5,
    Uid = 6,
    Gid = 7,
    Rdev = 8,
    Ctime = 9,
    Mtime = 10,
    Atime = 11,
    Otime = 12,
    XattrName = 13,
    XattrData = 14,
    Path = 15,
    PathTo = 16,
    PathLink = 17,
    FileOffset = 18,
    Data = 19,
    CloneUuid = 20,
    CloneCtransid = 21,
    ClonePath = 22,
    CloneOffset = 23,
    CloneLength = 24,
    FallocateMode = 25,
    FileAttributes = 26,
    UnencodedFileLength = 27,
    UnencodedLength = 28,
    UnencodedOffset = 29,
    Compression = 30,
    Encryption = 31,
}

/// One past the last attribute of version 2.
pub(super) const ATTRIBUTES: usize = 32;

/// A command, borrowed from the reader. Paths are bytes that nobody looked at yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the attributes of the same names")]
pub enum Command<'a> {
    /// The subvolume that everything after it is in.
    Subvolume { name: &'a [u8], uuid: [u8; 16], ctransid: u64 },
    /// An empty file.
    MakeFile { path: &'a [u8] },
    /// An empty folder.
    MakeFolder { path: &'a [u8] },
    /// Another name; the kernel makes everything as `oINODE-GENERATION-N` and renames it when its folder is there.
    Rename { path: &'a [u8], to: &'a [u8] },
    /// Content.
    Write { path: &'a [u8], offset: u64, data: &'a [u8] },
    /// Content, compressed as it was on the disk.
    EncodedWrite { path: &'a [u8], offset: u64, extent: Extent, data: &'a [u8] },
    /// Content that another file has already.
    Clone { path: &'a [u8], offset: u64, length: u64, source: CloneSource<'a> },
    /// The size of a file.
    Truncate { path: &'a [u8], size: u64 },
    /// Permissions.
    Chmod { path: &'a [u8], mode: u64 },
    /// Owner, times, file attributes: nothing a plugin needs.
    Ignored { path: &'a [u8] },
    /// An extended attribute.
    SetXattr { path: &'a [u8], name: &'a [u8] },
    /// Anything else.
    Other { code: Code, path: &'a [u8] },
    /// Nothing comes after it.
    End,
}

/// How compressed content is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of the file that it gives.
    pub file_length: u64,
    /// Bytes it has when decompressed.
    pub length: u64,
    /// Where in those the file's bytes begin.
    pub offset: u64,
    /// 0 none, 1 zlib, 2 zstd, 3 to 7 lzo.
    pub compression: u32,
    /// 0 none; there is no other.
    pub encryption: u32,
}

/// Where cloned content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloneSource<'a> {
    /// Of the subvolume.
    pub uuid: [u8; 16],
    /// Of the subvolume.
    pub ctransid: u64,
    /// The file in it.
    pub path: &'a [u8],
    /// Where in that file.
    pub offset: u64,
}
