//! What a session computes on: execution providers of ONNX Runtime, tried in order.

use crate::base::{Error, Result};
use ort::ep::{self, ExecutionProvider};
use ort::session::builder::SessionBuilder;

/// A device, or a library for one, that a session may compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// NVIDIA, by CUDA.
    Cuda,
    /// NVIDIA, by TensorRT.
    TensorRt,
    /// AMD, by ROCm.
    Rocm,
    /// Intel, by OpenVINO.
    OpenVino,
    /// This machine's processor.
    Cpu,
}

impl Provider {
    /// Every provider, in the order they are tried.
    pub const ALL: [Self; 5] = [Self::Cuda, Self::TensorRt, Self::Rocm, Self::OpenVino, Self::Cpu];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
            Self::Rocm => "rocm",
            Self::OpenVino => "openvino",
            Self::Cpu => "cpu",
        }
    }

    /// Whether the runtime was built with it.
    fn is_offered(self) -> bool {
        let offered = match self {
            Self::Cuda => ep::CUDA::is_available(),
            Self::TensorRt => ep::TensorRT::is_available(),
            Self::Rocm => ep::ROCm::is_available(),
            Self::OpenVino => ep::OpenVINO::is_available(),
            Self::Cpu => Ok(true),
        };
        offered.unwrap_or(false)
    }

    /// Asks a session to compute on it.
    pub(super) fn register(self, session: &mut SessionBuilder) -> std::result::Result<(), String> {
        if !self.is_offered() {
            return Err("this runtime was built without it".into());
        }
        let registered = match self {
            Self::Cuda => ep::CUDA::default().register(session),
            Self::TensorRt => ep::TensorRT::default().register(session),
            Self::Rocm => ep::ROCm::default().register(session),
            Self::OpenVino => ep::OpenVINO::default().register(session),
            // It is always there, after all others.
            Self::Cpu => Ok(()),
        };
        registered.map_err(|e| e.message().trim().to_owned())
    }
}

impl std::str::FromStr for Provider {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == text).ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|provider| provider.as_str()).collect();
            Error::usage(format!("{text:?} is no provider")).hint(format!("there are {}", all.join(", ")))
        })
    }
}
