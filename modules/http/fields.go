package http

// FieldID is a known field's place in the table; unknownField for all others.
type FieldID uint8

const unknownField FieldID = 0

// Whose messages a field belongs in.
const (
	ofRequest  = 1 << iota
	ofResponse // of the server
	hopByHop   // means this connection only: handled here, never forwarded
	ofUs       // written anew by the writer, whatever was received
	ofNobody   // dropped: means something only between a trusted proxy and its server
	ofServer   // tells what the server is made of: dropped unless listed
	isDate     // HTTP-date, RFC 9110 §5.6.7
	isNumber   // digits, printed from the number
	isURI      // a URI reference, without blanks
)

const ofBoth = ofRequest | ofResponse

// The fields that the code names.
const (
	fieldConnection = FieldID(iota + 1)
	fieldContentLength
	fieldTransferEncoding
	fieldHost
	fieldTE
	fieldTrailer
	fieldUpgrade
	fieldKeepAlive
	fieldProxyConnection
	fieldProxyAuthorization
	fieldProxyAuthenticate
	fieldHTTP2Settings
	fieldExpect
	fieldCookie
	fieldRange
	fieldDate
	fieldVia
	fieldServer
	fieldXPoweredBy
	fieldXForwardedFor
	fieldXForwardedProto
	fieldXForwardedHost
	fieldForwarded
	fieldSecWebSocketKey
	fieldSecWebSocketAccept
	fieldSecWebSocketVersion
	fieldSecWebSocketProtocol
	fieldSecWebSocketExtensions
	fieldContentType
	fieldContentEncoding
	fieldAuthorization
	fieldWWWAuthenticate
	numNamed
)

type fieldInfo struct {
	name  string // in the registry's spelling: what is written
	flags uint16
}

// fieldTable is the allow-list: the fields registered with IANA for HTTP
// requests and responses that are not obsolete, and well-known others. The
// first numNamed are in the order of the constants.
var fieldTable = []fieldInfo{
	{},
	{"Connection", ofBoth | hopByHop},
	{"Content-Length", ofBoth | ofUs},
	{"Transfer-Encoding", ofBoth | ofUs},
	{"Host", ofRequest | ofUs},
	{"TE", ofRequest | hopByHop},
	{"Trailer", ofBoth | hopByHop},
	{"Upgrade", ofBoth | hopByHop},
	{"Keep-Alive", ofBoth | hopByHop},
	{"Proxy-Connection", ofBoth | hopByHop},
	{"Proxy-Authorization", ofRequest | hopByHop},
	{"Proxy-Authenticate", ofResponse | hopByHop},
	{"HTTP2-Settings", ofRequest | hopByHop},
	{"Expect", ofRequest | ofUs},
	{"Cookie", ofRequest},
	{"Range", ofRequest},
	{"Date", ofBoth | isDate},
	{"Via", ofBoth | ofUs},
	{"Server", ofResponse | ofServer},
	{"X-Powered-By", ofResponse | ofServer},
	{"X-Forwarded-For", ofNobody},
	{"X-Forwarded-Proto", ofNobody},
	{"X-Forwarded-Host", ofNobody},
	{"Forwarded", ofNobody},
	{"Sec-WebSocket-Key", ofRequest},
	{"Sec-WebSocket-Accept", ofResponse},
	{"Sec-WebSocket-Version", ofBoth},
	{"Sec-WebSocket-Protocol", ofBoth},
	{"Sec-WebSocket-Extensions", ofBoth},
	{"Content-Type", ofBoth},
	{"Content-Encoding", ofBoth},
	{"Authorization", ofRequest},
	{"WWW-Authenticate", ofResponse},

	{"Proxy-Authentication-Info", ofResponse | hopByHop},
	{"Proxy-Status", ofResponse},
	{"X-Forwarded-Port", ofNobody},
	{"X-Forwarded-Server", ofNobody},
	{"X-Forwarded-Prefix", ofNobody},
	{"X-Forwarded-Ssl", ofNobody},
	{"X-Forwarded-By", ofNobody},
	{"X-Real-IP", ofNobody},
	{"X-Client-IP", ofNobody},
	{"True-Client-IP", ofNobody},
	{"X-Original-URL", ofNobody},
	{"X-Rewrite-URL", ofNobody},
	{"X-HTTP-Method", ofNobody},
	{"X-HTTP-Method-Override", ofNobody},
	{"X-Method-Override", ofNobody},

	{"A-IM", ofRequest},
	{"Accept", ofRequest},
	{"Accept-CH", ofResponse},
	{"Accept-Charset", ofRequest},
	{"Accept-Datetime", ofRequest | isDate},
	{"Accept-Encoding", ofRequest},
	{"Accept-Features", ofRequest},
	{"Accept-Language", ofRequest},
	{"Accept-Patch", ofResponse},
	{"Accept-Post", ofResponse},
	{"Accept-Query", ofResponse},
	{"Accept-Ranges", ofResponse},
	{"Accept-Signature", ofBoth},
	{"Access-Control-Allow-Credentials", ofResponse},
	{"Access-Control-Allow-Headers", ofResponse},
	{"Access-Control-Allow-Methods", ofResponse},
	{"Access-Control-Allow-Origin", ofResponse},
	{"Access-Control-Expose-Headers", ofResponse},
	{"Access-Control-Max-Age", ofResponse},
	{"Access-Control-Request-Headers", ofRequest},
	{"Access-Control-Request-Method", ofRequest},
	{"Age", ofResponse | isNumber},
	{"Allow", ofResponse},
	{"ALPN", ofRequest},
	{"Alt-Svc", ofResponse},
	{"Alt-Used", ofRequest},
	{"Alternates", ofResponse},
	{"AMP-Cache-Transform", ofBoth},
	{"Apply-To-Redirect-Ref", ofRequest},
	{"Authentication-Control", ofResponse},
	{"Authentication-Info", ofResponse},
	{"Available-Dictionary", ofRequest},
	{"Cache-Control", ofBoth},
	{"Cache-Status", ofResponse},
	{"Cal-Managed-ID", ofResponse},
	{"CalDAV-Timezones", ofRequest},
	{"Capsule-Protocol", ofBoth},
	{"CDN-Cache-Control", ofResponse},
	{"CDN-Loop", ofRequest},
	{"Cert-Not-After", ofResponse},
	{"Cert-Not-Before", ofResponse},
	{"Clear-Site-Data", ofResponse},
	{"Client-Cert", ofNobody},
	{"Client-Cert-Chain", ofNobody},
	{"Content-Digest", ofBoth},
	{"Content-Disposition", ofBoth},
	{"Content-Language", ofBoth},
	{"Content-Location", ofBoth | isURI},
	{"Content-MD5", ofBoth},
	{"Content-Range", ofBoth},
	{"Content-Security-Policy", ofResponse},
	{"Content-Security-Policy-Report-Only", ofResponse},
	{"Cross-Origin-Embedder-Policy", ofResponse},
	{"Cross-Origin-Embedder-Policy-Report-Only", ofResponse},
	{"Cross-Origin-Opener-Policy", ofResponse},
	{"Cross-Origin-Opener-Policy-Report-Only", ofResponse},
	{"Cross-Origin-Resource-Policy", ofResponse},
	{"DASL", ofResponse},
	{"DAV", ofBoth},
	{"Default-Style", ofResponse},
	{"Delta-Base", ofResponse},
	{"Deprecation", ofResponse},
	{"Depth", ofRequest},
	{"Destination", ofRequest | isURI},
	{"Dictionary-ID", ofRequest},
	{"Digest", ofBoth},
	{"DNT", ofRequest},
	{"DPoP", ofRequest},
	{"DPoP-Nonce", ofResponse},
	{"Early-Data", ofRequest},
	{"ETag", ofResponse},
	{"Expires", ofResponse | isDate},
	{"From", ofRequest},
	{"Hobareg", ofResponse},
	{"If", ofRequest},
	{"If-Match", ofRequest},
	{"If-Modified-Since", ofRequest | isDate},
	{"If-None-Match", ofRequest},
	{"If-Range", ofRequest},
	{"If-Schedule-Tag-Match", ofRequest},
	{"If-Unmodified-Since", ofRequest | isDate},
	{"IM", ofResponse},
	{"Include-Referred-Token-Binding-ID", ofResponse},
	{"Isolation", ofRequest},
	{"Keep-Alive-Timeout", ofResponse},
	{"Label", ofRequest},
	{"Last-Event-ID", ofRequest},
	{"Last-Modified", ofResponse | isDate},
	{"Link", ofBoth},
	{"Link-Template", ofResponse},
	{"Location", ofResponse | isURI},
	{"Lock-Token", ofBoth},
	{"Max-Forwards", ofRequest | isNumber},
	{"Memento-Datetime", ofResponse | isDate},
	{"Meter", ofBoth | hopByHop},
	{"Negotiate", ofRequest},
	{"NEL", ofResponse},
	{"OData-EntityId", ofResponse},
	{"OData-Isolation", ofRequest},
	{"OData-MaxVersion", ofRequest},
	{"OData-Version", ofBoth},
	{"Ordering-Type", ofRequest},
	{"Origin", ofRequest},
	{"Origin-Agent-Cluster", ofResponse},
	{"OSCORE", ofBoth},
	{"OSLC-Core-Version", ofBoth},
	{"Overwrite", ofRequest},
	{"Permissions-Policy", ofResponse},
	{"Ping-From", ofRequest | isURI},
	{"Ping-To", ofRequest | isURI},
	{"Position", ofRequest},
	{"Pragma", ofBoth},
	{"Prefer", ofRequest},
	{"Preference-Applied", ofResponse},
	{"Priority", ofBoth},
	{"Purpose", ofRequest},
	{"Redirect-Ref", ofResponse},
	{"Referer", ofRequest | isURI},
	{"Referrer-Policy", ofResponse},
	{"Refresh", ofResponse},
	{"Repeatability-Client-ID", ofRequest},
	{"Repeatability-First-Sent", ofRequest},
	{"Repeatability-Request-ID", ofRequest},
	{"Repeatability-Result", ofResponse},
	{"Replay-Nonce", ofResponse},
	{"Reporting-Endpoints", ofResponse},
	{"Repr-Digest", ofBoth},
	{"Retry-After", ofResponse},
	{"Schedule-Reply", ofRequest},
	{"Schedule-Tag", ofResponse},
	{"Sec-CH-UA", ofRequest},
	{"Sec-CH-UA-Arch", ofRequest},
	{"Sec-CH-UA-Bitness", ofRequest},
	{"Sec-CH-UA-Full-Version-List", ofRequest},
	{"Sec-CH-UA-Mobile", ofRequest},
	{"Sec-CH-UA-Model", ofRequest},
	{"Sec-CH-UA-Platform", ofRequest},
	{"Sec-CH-UA-Platform-Version", ofRequest},
	{"Sec-Fetch-Dest", ofRequest},
	{"Sec-Fetch-Mode", ofRequest},
	{"Sec-Fetch-Site", ofRequest},
	{"Sec-Fetch-User", ofRequest},
	{"Sec-GPC", ofRequest},
	{"Sec-Purpose", ofRequest},
	{"Sec-Token-Binding", ofRequest},
	{"Server-Timing", ofResponse},
	{"Set-Cookie", ofResponse},
	{"Set-Txn", ofResponse},
	{"Signature", ofBoth},
	{"Signature-Input", ofBoth},
	{"SLUG", ofRequest},
	{"SoapAction", ofRequest},
	{"SourceMap", ofResponse},
	{"Status-URI", ofResponse},
	{"Strict-Transport-Security", ofResponse},
	{"Sunset", ofResponse | isDate},
	{"Surrogate-Capability", ofRequest},
	{"Surrogate-Control", ofResponse},
	{"TCN", ofResponse},
	{"Timeout", ofRequest},
	{"Timing-Allow-Origin", ofResponse},
	{"Topic", ofRequest},
	{"Traceparent", ofBoth},
	{"Tracestate", ofBoth},
	{"TTL", ofBoth | isNumber},
	{"Upgrade-Insecure-Requests", ofRequest},
	{"Urgency", ofRequest},
	{"Use-As-Dictionary", ofResponse},
	{"User-Agent", ofRequest},
	{"Variant-Vary", ofResponse},
	{"Vary", ofResponse},
	{"Want-Content-Digest", ofBoth},
	{"Want-Digest", ofBoth},
	{"Want-Repr-Digest", ofBoth},
	{"Warning", ofBoth},
	{"X-Content-Type-Options", ofResponse},
	{"X-Correlation-ID", ofBoth},
	{"X-CSRF-Token", ofBoth},
	{"X-DNS-Prefetch-Control", ofResponse},
	{"X-Download-Options", ofResponse},
	{"X-Frame-Options", ofResponse},
	{"X-Permitted-Cross-Domain-Policies", ofResponse},
	{"X-Request-ID", ofBoth},
	{"X-Requested-With", ofRequest},
	{"X-Robots-Tag", ofResponse},
	{"X-UA-Compatible", ofResponse},
	{"X-XSRF-Token", ofRequest},
	{"X-XSS-Protection", ofResponse},
}

// fieldSlots is a hash table of fieldTable with open addressing; its length is
// a power of two and at least four times the table's.
var fieldSlots = func() (slots [1024]FieldID) {
	if len(fieldTable) > 255 || len(fieldTable)*4 > len(slots) {
		panic("http: the table of fields has outgrown its hash table")
	}
	for id := 1; id < len(fieldTable); id++ {
		name := fieldTable[id].name
		if lookup(&slots, name) != unknownField {
			panic("http: field " + name + " is in the table twice")
		}
		h := fieldHash(name)
		for slots[h] != unknownField {
			h = (h + 1) % len(slots)
		}
		slots[h] = FieldID(id)
	}
	return slots
}()

func fieldHash[T []byte | string](name T) int {
	n := len(name)
	if n == 0 {
		return 0
	}
	h := uint(n)
	h = h*31 + uint(name[0]|0x20)
	h = h*31 + uint(name[n/2]|0x20)
	h = h*31 + uint(name[n*2/3]|0x20)
	h = h*31 + uint(name[n-1]|0x20)
	return int(h * 2654435761 >> 7 & 1023)
}

func lookup[T []byte | string](slots *[1024]FieldID, name T) FieldID {
	for h := fieldHash(name); ; h = (h + 1) % len(slots) {
		id := slots[h]
		if id == unknownField || foldEqual(name, fieldTable[id].name) {
			return id
		}
	}
}

// fieldByName finds a known field.
func fieldByName[T []byte | string](name T) FieldID { return lookup(&fieldSlots, name) }
