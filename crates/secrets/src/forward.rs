//! Forwarding for sources that wrap another source.

/// Forwards every method of a source to the only field of a tuple struct, including those with a default.
macro_rules! forward {
    ($source:ty) => {
        #[async_trait::async_trait]
        impl hallpass_core::SecretSource for $source {
            async fn secret(&self) -> Result<hallpass_core::Secret, hallpass_core::SecretError> {
                self.0.secret().await
            }

            fn epoch(&self) -> u64 {
                self.0.epoch()
            }

            fn refused(&self, secret: &hallpass_core::Secret) {
                self.0.refused(secret);
            }
        }
    };
}

pub(crate) use forward;
