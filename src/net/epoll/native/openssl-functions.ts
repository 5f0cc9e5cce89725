/** The functions of OpenSSL that the epoll backend calls, as FFI knows them. */
type Library = InstanceType<(typeof import("node:ffi"))["DynamicLibrary"]>;

const signatures = {
  TLS_method: { arguments: [], return: "pointer" },
  SSL_CTX_new: { arguments: ["pointer"], return: "pointer" },
  SSL_CTX_free: { arguments: ["pointer"], return: "void" },
  SSL_CTX_ctrl: { arguments: ["pointer", "i32", "i64", "pointer"], return: "i64" },
  SSL_CTX_set_options: { arguments: ["pointer", "u64"], return: "u64" },
  SSL_CTX_set_num_tickets: { arguments: ["pointer", "u64"], return: "i32" },
  SSL_CTX_set_timeout: { arguments: ["pointer", "i64"], return: "i64" },
  SSL_CTX_set_session_ticket_cb: {
    arguments: ["pointer", "pointer", "pointer", "pointer"],
    return: "i32",
  },
  SSL_CTX_callback_ctrl: { arguments: ["pointer", "i32", "pointer"], return: "i64" },
  SSL_CTX_sess_set_new_cb: { arguments: ["pointer", "pointer"], return: "void" },
  SSL_CTX_set_cipher_list: { arguments: ["pointer", "string"], return: "i32" },
  SSL_CTX_set_ciphersuites: { arguments: ["pointer", "string"], return: "i32" },
  SSL_CTX_use_certificate: { arguments: ["pointer", "pointer"], return: "i32" },
  SSL_CTX_use_PrivateKey: { arguments: ["pointer", "pointer"], return: "i32" },
  SSL_CTX_check_private_key: { arguments: ["pointer"], return: "i32" },
  SSL_CTX_get_cert_store: { arguments: ["pointer"], return: "pointer" },
  SSL_CTX_add_client_CA: { arguments: ["pointer", "pointer"], return: "i32" },
  SSL_CTX_set_alpn_select_cb: { arguments: ["pointer", "pointer", "pointer"], return: "void" },
  X509_STORE_add_cert: { arguments: ["pointer", "pointer"], return: "i32" },
  X509_STORE_add_crl: { arguments: ["pointer", "pointer"], return: "i32" },
  X509_STORE_set_flags: { arguments: ["pointer", "u64"], return: "i32" },
  BIO_new_mem_buf: { arguments: ["pointer", "i32"], return: "pointer" },
  BIO_new_socket: { arguments: ["i32", "i32"], return: "pointer" },
  BIO_new: { arguments: ["pointer"], return: "pointer" },
  BIO_s_mem: { arguments: [], return: "pointer" },
  BIO_write: { arguments: ["pointer", "pointer", "i32"], return: "i32" },
  BIO_ctrl: { arguments: ["pointer", "i32", "i64", "pointer"], return: "i64" },
  BIO_free: { arguments: ["pointer"], return: "i32" },
  PEM_read_bio_X509: { arguments: ["pointer", "pointer", "pointer", "pointer"], return: "pointer" },
  PEM_read_bio_PrivateKey: {
    arguments: ["pointer", "pointer", "pointer", "pointer"],
    return: "pointer",
  },
  PEM_read_bio_X509_CRL: {
    arguments: ["pointer", "pointer", "pointer", "pointer"],
    return: "pointer",
  },
  X509_free: { arguments: ["pointer"], return: "void" },
  X509_CRL_free: { arguments: ["pointer"], return: "void" },
  i2d_X509: { arguments: ["pointer", "pointer"], return: "i32" },
  EVP_PKEY_free: { arguments: ["pointer"], return: "void" },
  SSL_new: { arguments: ["pointer"], return: "pointer" },
  SSL_free: { arguments: ["pointer"], return: "void" },
  SSL_set_fd: { arguments: ["pointer", "i32"], return: "i32" },
  SSL_set0_rbio: { arguments: ["pointer", "pointer"], return: "void" },
  SSL_set_verify: { arguments: ["pointer", "i32", "pointer"], return: "void" },
  SSL_set_session_id_context: { arguments: ["pointer", "pointer", "u32"], return: "i32" },
  SSL_set_session: { arguments: ["pointer", "pointer"], return: "i32" },
  SSL_get_session: { arguments: ["pointer"], return: "pointer" },
  SSL_version: { arguments: ["pointer"], return: "i32" },
  SSL_session_reused: { arguments: ["pointer"], return: "i32" },
  SSL_SESSION_up_ref: { arguments: ["pointer"], return: "i32" },
  SSL_SESSION_free: { arguments: ["pointer"], return: "void" },
  SSL_SESSION_get_protocol_version: { arguments: ["pointer"], return: "i32" },
  SSL_SESSION_set1_ticket_appdata: { arguments: ["pointer", "pointer", "u64"], return: "i32" },
  SSL_SESSION_get0_ticket_appdata: { arguments: ["pointer", "pointer", "pointer"], return: "i32" },
  SSL_get_peer_cert_chain: { arguments: ["pointer"], return: "pointer" },
  SSL_get0_verified_chain: { arguments: ["pointer"], return: "pointer" },
  OPENSSL_sk_num: { arguments: ["pointer"], return: "i32" },
  OPENSSL_sk_value: { arguments: ["pointer", "i32"], return: "pointer" },
  X509_get0_notAfter: { arguments: ["pointer"], return: "pointer" },
  ASN1_TIME_diff: { arguments: ["pointer", "pointer", "pointer", "pointer"], return: "i32" },
  RAND_bytes: { arguments: ["pointer", "i32"], return: "i32" },
  EVP_aes_256_cbc: { arguments: [], return: "pointer" },
  EVP_sha256: { arguments: [], return: "pointer" },
  EVP_EncryptInit_ex: {
    arguments: ["pointer", "pointer", "pointer", "pointer", "pointer"],
    return: "i32",
  },
  EVP_DecryptInit_ex: {
    arguments: ["pointer", "pointer", "pointer", "pointer", "pointer"],
    return: "i32",
  },
  HMAC_Init_ex: { arguments: ["pointer", "pointer", "i32", "pointer", "pointer"], return: "i32" },
  SSL_set_accept_state: { arguments: ["pointer"], return: "void" },
  SSL_set_connect_state: { arguments: ["pointer"], return: "void" },
  SSL_set_alpn_protos: { arguments: ["pointer", "pointer", "u32"], return: "i32" },
  SSL_ctrl: { arguments: ["pointer", "i32", "i64", "string"], return: "i64" },
  SSL_do_handshake: { arguments: ["pointer"], return: "i32" },
  SSL_read: { arguments: ["pointer", "pointer", "i32"], return: "i32" },
  SSL_has_pending: { arguments: ["pointer"], return: "i32" },
  SSL_write: { arguments: ["pointer", "pointer", "i32"], return: "i32" },
  SSL_get_error: { arguments: ["pointer", "i32"], return: "i32" },
  SSL_set_shutdown: { arguments: ["pointer", "i32"], return: "void" },
  SSL_shutdown: { arguments: ["pointer"], return: "i32" },
  SSL_get_verify_result: { arguments: ["pointer"], return: "i64" },
  SSL_get0_alpn_selected: { arguments: ["pointer", "pointer", "pointer"], return: "void" },
  /** It stays the connection's. */
  SSL_get_certificate: { arguments: ["pointer"], return: "pointer" },
  SSL_get1_peer_certificate: { arguments: ["pointer"], return: "pointer" },
  SSL_get_version: { arguments: ["pointer"], return: "pointer" },
  SSL_get_current_cipher: { arguments: ["pointer"], return: "pointer" },
  SSL_CIPHER_get_name: { arguments: ["pointer"], return: "pointer" },
  SSL_get_servername: { arguments: ["pointer", "i32"], return: "pointer" },
  ERR_clear_error: { arguments: [], return: "void" },
  ERR_peek_error: { arguments: [], return: "u64" },
  ERR_reason_error_string: { arguments: ["u64"], return: "pointer" },
} as const;

type Signatures = typeof signatures;

interface Values {
  readonly pointer: bigint;
  readonly string: string;
  readonly i32: number;
  readonly u32: number;
  readonly i64: bigint;
  readonly u64: bigint;
  // oxlint-disable-next-line typescript/no-invalid-void-type
  readonly void: void;
}

type Arguments<Names extends readonly (keyof Values)[]> = {
  [Index in keyof Names]: Values[Names[Index]];
};

export type OpenSslFunctions = {
  readonly [Name in keyof Signatures]: (
    ...args: Arguments<Signatures[Name]["arguments"]>
  ) => Values[Signatures[Name]["return"]];
};

/** Throws where one is missing. */
export function resolveOpenSsl(library: Library): OpenSslFunctions {
  return library.getFunctions(signatures);
}
