package http

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// status holds the answer to the client for each refused reason; a defect of a
// response, and whatever is not here, is a 502.
var status = map[ppf.Reason]int{}

// Defects of the request line and the target.
var (
	ReasonEmptyLine    = refused(400, "http.line.empty", "http.line", "9112 §2.2", "more than one empty line before the request line, or one that ends with LF alone", "none known", "")
	ReasonLine         = refused(400, "http.line.syntax", "http.line", "9112 §3", "the request line is not exactly method, blank, target, blank, version", "none known", "")
	ReasonVersion      = refused(400, "http.version", "http.version", "9112 §2.3", "the version is neither HTTP/1.0 nor HTTP/1.1", "none known", "")
	ReasonVersion09    = refused(400, "http.version.09", "http.version", "9112 §2.3", "a request of HTTP/0.9, without a version", "none known", "")
	ReasonMethod       = refused(405, "http.method.not-allowed", "http.method", "9110 §9.1", "the method is not in the allow-list", "WebDAV and other extensions", "modules: {http: {methods: [GET, HEAD, …]}}", "CVE-2021-27565")
	ReasonMethodNever  = refused(501, "http.method.never", "http.method", "9110 §9.3.6", "CONNECT and TRACE are never passed on", "none known", "")
	ReasonTarget       = refused(400, "http.target.syntax", "http.target", "9112 §3.2", "the target is not a path, an absolute http URI, or * with OPTIONS", "none known", "")
	ReasonTargetOctet  = refused(400, "http.target.octet", "http.target", "3986 §2", "an octet that belongs in no URI: not ASCII, a control character, or a fragment", "none known", "")
	ReasonTargetEscape = refused(400, "http.target.percent", "http.target", "3986 §2.1", "% without two hexadecimal digits", "hand-written query strings", "reasons: {http.target.percent: monitor}")
	ReasonTargetNul    = refused(400, "http.target.nul", "http.target", "3986 §7.3", "%00 in the target", "none known", "")
	ReasonTargetRoot   = refused(400, "http.target.root", "http.target", "3986 §5.2.4", "dot segments that lead out of the root", "none known", "")
	ReasonTargetSlash  = refused(400, "http.target.encoded-slash", "http.target", "3986 §2.2", "%2F in a path, which some servers take for a separator", "applications with names in paths", "modules: {http: {encoded_slash: keep}}")
	ReasonTargetBack   = refused(400, "http.target.backslash", "http.target", "3986 §2", "a backslash or %5C in a path, which some servers take for a separator", "none known", "modules: {http: {backslash: keep}}")
	ReasonTargetPer    = refused(400, "http.target.encoded-percent", "http.target", "3986 §2.4", "%25 in a path, which some servers decode twice", "names with a percent sign", "modules: {http: {encoded_percent: keep}}")
	ReasonTargetDouble = refused(400, "http.target.double-slash", "http.target", "3986 §3.3", "an empty segment in a path", "links put together carelessly", "modules: {http: {double_slash: keep}}")
	ReasonTargetDots   = refused(400, "http.target.dot-segments", "http.target", "3986 §5.2.4", "dot segments in a path", "none known", "modules: {http: {dot_segments: decode}}")
	ReasonTargetLong   = refused(414, "http.target.too-long", "http.target", "9110 §15.5.15", "the target is longer than the limit", "long query strings", "modules: {http: {max_target: 8192}}")
	ReasonTargetRoute  = refused(400, "http.target.route", "http.target", "3986 §6", "the path belongs to one route as it was sent and to another as it is sent on", "none known", "dot_segments, double_slash and the like the same for both routes")
	ReasonTargetEncode = repaired("http.target.encoded", "http.target", "3986 §2.1", "octets in a path that must be percent-encoded are encoded", "browsers that send | and ^ as they are", "")
)

// Defects of the head's lines and fields.
var (
	ReasonBareLF      = mendable(400, "http.head.bare-lf", "http.head", "9112 §2.2", "a line of the head ends with LF alone", "hand-written clients", "reasons: {http.head.bare-lf: repair}")
	ReasonBareCR      = refused(400, "http.head.bare-cr", "http.head", "9112 §2.2", "CR without LF", "none known", "")
	ReasonObsFold     = mendable(400, "http.head.obs-fold", "http.head", "9112 §5.2", "a field that is continued on the next line", "clients from before 2014", "reasons: {http.head.obs-fold: repair}")
	ReasonBlankLine   = refused(400, "http.head.leading-blank", "http.head", "9112 §2.2", "a line before the first field that starts with a blank", "none known", "")
	ReasonCutHead     = refused(400, "http.head.cut", "http.head", "9112 §8", "the connection ended in the middle of a head", "none known", "")
	ReasonHeadLong    = refused(431, "http.head.too-long", "http.head", "6585 §5", "the head is longer than the limit", "large cookies", "modules: {http: {max_head: 32768}}")
	ReasonFieldLong   = refused(431, "http.field.too-long", "http.field", "6585 §5", "a field is longer than the limit", "large cookies", "modules: {http: {max_field: 8192}}")
	ReasonFieldMany   = refused(431, "http.field.too-many", "http.field", "6585 §5", "more fields than the limit", "none known", "modules: {http: {max_fields: 100}}")
	ReasonFieldColon  = refused(400, "http.field.no-colon", "http.field", "9112 §5", "a field line without a colon", "none known", "")
	ReasonFieldEmpty  = refused(400, "http.field.name-empty", "http.field", "9112 §5", "a field without a name", "none known", "")
	ReasonFieldName   = refused(400, "http.field.name", "http.field", "9110 §5.1", "a field's name has something else than token characters", "none known", "")
	ReasonFieldBlank  = refused(400, "http.field.blank-before-colon", "http.field", "9112 §5.1", "a blank between a field's name and the colon", "none known", "")
	ReasonFieldOctet  = refused(400, "http.field.octet", "http.field", "9110 §5.5", "a control character, DEL or NUL in a field's value", "none known", "")
	ReasonFieldUnk    = refused(400, "http.field.unknown", "http.field", "9110 §5.1", "a field that is not in the allow-list, where unknown: refuse is set", "applications with fields of their own", "modules: {http: {fields: […]}}, or unknown: pass-token")
	ReasonFieldDup    = refused(400, "http.field.duplicate", "http.field", "9110 §5.3", "a second field of a kind that stands once", "none known", "")
	ReasonFieldPass   = rewritten("http.field.unknown-passed", "http.field", "9110 §5.1", "a field that is not in the allow-list is printed from its validated octets", "applications with fields of their own", "modules: {http: {fields: […]}}")
	ReasonFieldDrop   = rewritten("http.field.unknown-dropped", "http.field", "9110 §5.1", "a field that is not in the allow-list is left out", "applications with fields of their own", "modules: {http: {fields: […]}}, or unknown: pass-token")
	ReasonFieldTrust  = rewritten("http.field.untrusted-dropped", "http.field", "7239 §8.1", "a field that only a trusted proxy may write, or one with _ in its name, is left out", "a proxy in front of this one", "modules: {http: {fields: […]}}")
	ReasonFieldValue  = repaired("http.field.value", "http.field", "9110 §5.5", "a date, number or URI that is none is left out", "old clients and servers", "")
	ReasonCookieMany  = repaired("http.cookie.duplicate", "http.cookie", "6265 §5.4", "several Cookie fields are joined", "gateways from HTTP/2", "")
	ReasonHostMissing = refused(400, "http.host.missing", "http.host", "9112 §3.2", "a request of HTTP/1.1 without Host", "none known", "")
	ReasonHostDup     = refused(400, "http.host.duplicate", "http.host", "9112 §3.2", "more than one Host field", "none known", "")
	ReasonHost        = refused(400, "http.host.syntax", "http.host", "9112 §3.2", "Host is not a name or address with a port", "none known", "")
	ReasonHostDiffers = refused(400, "http.host.differs", "http.host", "9112 §3.2.2", "an absolute target names another host than Host", "none known", "")
	ReasonExpect      = refused(417, "http.expect", "http.expect", "9110 §10.1.1", "an expectation other than 100-continue", "none known", "")
	ReasonRangeMany   = refused(416, "http.range.too-many", "http.range", "9110 §14.2", "more byte ranges than the limit", "none known", "modules: {http: {max_ranges: 8}}", "CVE-2011-3192")
	ReasonRange       = repaired("http.range.syntax", "http.range", "9110 §14.2", "a Range that is not bytes=FIRST-LAST,… is left out, as a server would", "none known", "")
	ReasonUpgrade     = repaired("http.upgrade.dropped", "http.upgrade", "9110 §7.8", "an Upgrade to anything but an allowed websocket is left out, with what goes with it", "clients that try HTTP/2 in clear text", "modules: {http: {websocket: true}}")
	ReasonWebSocket   = refused(400, "http.upgrade.handshake", "http.upgrade", "6455 §4.2.1", "a request for a websocket that is not GET, or without its key or version 13", "none known", "")
)

// Defects of framing and bodies.
var (
	ReasonLengthTE    = refused(400, "http.content-length.with-transfer-encoding", "http.content-length", "9112 §6.3", "Content-Length and Transfer-Encoding together", "none known", "", "CVE-2019-18277")
	ReasonLengthDup   = refused(400, "http.content-length.duplicate", "http.content-length", "9112 §6.3", "a second Content-Length, also an equal one", "none known", "", "CVE-2021-40346")
	ReasonLength      = refused(400, "http.content-length.syntax", "http.content-length", "9110 §8.6", "Content-Length is not digits alone", "none known", "", "CVE-2021-31227")
	ReasonLengthBig   = refused(413, "http.body.too-large", "http.body", "9110 §15.5.14", "the body is longer than the limit", "uploads", "modules: {http: {max_body: 1073741824}}", "CVE-2021-31226")
	ReasonBodyUnseen  = refused(413, "http.body.not-judged", "http.body", "9110 §15.5.14", "a message function has to judge the body, which is longer than what it takes, or than what is left of the instance's buffers", "uploads", "modules: {http: {buffer_total: 67108864}}")
	ReasonTEVersion   = refused(400, "http.transfer-encoding.version", "http.transfer-encoding", "9112 §6.1", "Transfer-Encoding in HTTP/1.0", "none known", "")
	ReasonTEDup       = refused(400, "http.transfer-encoding.duplicate", "http.transfer-encoding", "9112 §6.1", "a second Transfer-Encoding", "none known", "")
	ReasonTE          = refused(400, "http.transfer-encoding.unknown", "http.transfer-encoding", "9112 §7", "Transfer-Encoding is not exactly chunked", "none known", "", "CVE-2019-20372")
	ReasonChunkSize   = refused(400, "http.chunk.size", "http.chunk", "9112 §7.1", "a chunk size is not 1 to 16 hexadecimal digits", "none known", "")
	ReasonChunkLF     = mendable(400, "http.chunk.bare-lf", "http.chunk", "9112 §7.1", "a chunk's line ends with LF alone", "none known", "reasons: {http.chunk.bare-lf: repair}")
	ReasonChunkExt    = mendable(400, "http.chunk.extension", "http.chunk", "9112 §7.1.1", "a chunk extension", "none known", "reasons: {http.chunk.extension: repair}", "CVE-2025-55315")
	ReasonChunkEnd    = refused(400, "http.chunk.end", "http.chunk", "9112 §7.1", "a chunk's data is not followed by CRLF", "none known", "")
	ReasonChunkLine   = refused(400, "http.chunk.too-long", "http.chunk", "9112 §7.1.1", "a chunk's line, or the trailers, are longer than the limits", "none known", "")
	ReasonBodyCut     = refused(400, "http.body.cut", "http.body", "9112 §8", "the connection ended before the body did", "none known", "")
	ReasonTrailer     = rewritten("http.trailer.dropped", "http.trailer", "9110 §6.5.1", "a trailer field that is not in the allow-list is left out", "gRPC-web and signed bodies", "modules: {http: {trailers: […]}}")
	ReasonSlowHead    = refused(408, "http.slow.head", "http.time", "9110 §15.5.9", "a head did not arrive in time", "very slow links", "modules: {http: {head_timeout: 10s}}")
	ReasonSlowBody    = refused(408, "http.slow.body", "http.time", "9110 §15.5.9", "a body arrives slower than the limit, or stands still", "very slow links", "modules: {http: {body_rate: 1000}}")
	ReasonSlowRead    = refused(408, "http.slow.read", "http.time", "9112 §9.5", "the client does not read its response", "very slow links", "modules: {http: {body_window: 30s}}")
	ReasonBufferTotal = rewritten("http.buffer.full", "http.body", "9110 §6.4", "a body is passed on while it arrives, since the instance's buffers are in use", "many uploads at once", "modules: {http: {buffer_total: 67108864}}")
)

// Defects of responses, and servers that fail.
var (
	ReasonAnswerLine     = failed("http.response.line", "9112 §4", "the status line is not HTTP/1.x and three digits from 100 to 599", "", "")
	ReasonAnswerHead     = failed("http.response.head", "9112 §5", "a line of the head is no field", "", "")
	ReasonAnswerOctet    = failed("http.response.octet", "9110 §5.5", "a control character in the head", "", "")
	ReasonAnswerLong     = failed("http.response.too-long", "9110 §5.4", "the head is over the limits", "large cookies", "modules: {http: {max_head: 32768}}")
	ReasonAnswerLength   = failed("http.response.content-length", "9112 §6.3", "Content-Length is doubled, is no number, or stands with Transfer-Encoding", "", "")
	ReasonAnswerTE       = failed("http.response.transfer-encoding", "9112 §6.3", "Transfer-Encoding is doubled or not chunked", "", "")
	ReasonAnswerChunk    = failed("http.response.chunk", "9112 §7.1", "a broken chunk", "", "")
	ReasonAnswerSwitch   = failed("http.response.unasked-101", "9110 §15.2.2", "a change of protocol that nobody asked for, or to another", "", "")
	ReasonAnswerInfo     = failed("http.response.informational", "9110 §15.2", "more informational responses than the limit", "", "modules: {http: {max_informational: 8}}")
	ReasonAnswerCut      = failed("http.response.cut", "9112 §8", "the server ended in the middle of a response", "", "")
	ReasonAnswerTail     = failed("http.response.surplus", "9112 §9.3", "octets after the end of a response", "", "")
	ReasonAnswerUnseen   = failed("http.response.not-judged", "9110 §15.6.3", "a message function has to judge the body, which is longer than what it takes, or than what is left of the instance's buffers", "downloads", "modules: {http: {buffer_total: 67108864}}")
	ReasonAnswerLF       = repaired("http.response.bare-lf", "http.head", "9112 §2.2", "lines that end with LF alone", "old servers", "")
	ReasonAnswerPhrase   = repaired("http.response.reason-phrase", "http.status", "9112 §4", "a status line without the blank before the reason phrase", "old servers", "")
	ReasonAnswerBlank    = repaired("http.response.blank-before-colon", "http.field", "9112 §5.1", "a blank before a colon", "old servers", "")
	ReasonAnswerFold     = repaired("http.response.obs-fold", "http.head", "9112 §5.2", "a field that is continued on the next line", "old servers", "")
	ReasonAnswerSize     = repaired("http.response.chunk-blank", "http.chunk", "9112 §7.1", "blanks around a chunk size", "old servers", "")
	ReasonAnswerExt      = repaired("http.response.chunk-extension", "http.chunk", "9112 §7.1.1", "a chunk extension", "none known", "")
	ReasonAnswerBody     = repaired("http.response.unexpected-body", "http.body", "9110 §6.4.1", "a body where there can be none: for HEAD, 204 and 304", "old servers", "")
	ReasonServerDown     = gone(502, "http.server.unreachable", "9110 §15.6.3", "no connection to the server", "")
	ReasonServerSilent   = gone(504, "http.server.silent", "9110 §15.6.5", "the server did not answer in time", "modules: {http: {response_timeout: 60s}}")
	ReasonServerClosed   = gone(502, "http.server.closed", "9110 §15.6.3", "the server closed without an answer", "")
	ReasonFunctionFailed = gone(500, "http.function.panic", "9110 §15.6.1", "a message function panicked", "")
)

// Defects of websocket frames.
var (
	ReasonFrame      = refused(400, "http.websocket.frame", "http.websocket", "6455 §5.2", "a frame with reserved bits or an unknown opcode, or one that is not masked as its direction demands", "extensions", "modules: {http: {websocket_extensions: true}}")
	ReasonFrameSize  = refused(400, "http.websocket.too-long", "http.websocket", "6455 §5.2", "a frame's length is not in its shortest form, or over the limit", "none known", "modules: {http: {max_body: 1073741824}}")
	ReasonFrameOf    = refused(400, "http.websocket.order", "http.websocket", "6455 §5.4", "a continuation without a beginning, a beginning inside a message, or a control frame that is fragmented or over 125 octets", "none known", "")
	ReasonFrameText  = refused(400, "http.websocket.text", "http.websocket", "6455 §8.1", "a text message that is not UTF-8", "old clients that send text in another encoding", "reasons: {http.websocket.text: monitor}")
	ReasonFrameClose = refused(400, "http.websocket.close", "http.websocket", "6455 §7.4", "a close frame whose code must not be sent, or whose text is not UTF-8", "none known", "reasons: {http.websocket.close: monitor}")
)

func register(code int, i ppf.ReasonInfo) ppf.Reason {
	r := packet.NewReason("http", i)
	if code != 0 {
		status[r] = code
	}
	return r
}

func refused(code int, name, field, rfc, doc, trips, relax string, cve ...string) ppf.Reason {
	return register(code, ppf.ReasonInfo{Name: name, Field: field, RFC: rfc, Doc: doc, Trips: trips, Relax: relax, CVE: cve})
}

// mendable is refused, but an override may turn it into a repair.
func mendable(code int, name, field, rfc, doc, trips, relax string, cve ...string) ppf.Reason {
	return register(code, ppf.ReasonInfo{Name: name, Field: field, RFC: rfc, Doc: doc, Trips: trips, Relax: relax, CVE: cve, Repairable: true})
}

func repaired(name, field, rfc, doc, trips, relax string) ppf.Reason {
	if relax == "" {
		relax = "reasons: {" + name + ": repair}" // in mode strict
	}
	return register(0, ppf.ReasonInfo{Name: name, Class: packet.Repaired, Field: field, RFC: rfc, Doc: doc, Trips: trips, Relax: relax})
}

// rewritten is normal business: the same in all modes, and counted here since an
// operator looks for the field that did not arrive.
func rewritten(name, field, rfc, doc, trips, relax string) ppf.Reason {
	return register(0, ppf.ReasonInfo{Name: name, Class: packet.Rewritten, Field: field, RFC: rfc, Doc: doc, Trips: trips, Relax: relax})
}

func failed(name, rfc, doc, trips, relax string) ppf.Reason {
	if trips == "" {
		trips = "none known"
	}
	return register(502, ppf.ReasonInfo{Name: name, Field: "http.response", RFC: rfc, Doc: doc, Trips: trips, Relax: relax})
}

func gone(code int, name, rfc, doc, relax string) ppf.Reason {
	trips := "none known"
	if relax != "" {
		trips = "a slow server"
	}
	return register(code, ppf.ReasonInfo{Name: name, Field: "http.server", RFC: rfc, Doc: doc, Trips: trips, Relax: relax})
}
