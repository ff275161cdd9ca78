package https

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// staple is a response of OCSP about one certificate.
type staple struct {
	der         []byte    // empty: it would be refused at any time
	from, until time.Time // until zero: as long as it stays in its file
}

// Of RFC 6960 §4.2.1, what tells whom a response is about and how long it is good.
type (
	ocspResponse struct {
		Status asn1.Enumerated
		Bytes  struct {
			Type  asn1.ObjectIdentifier
			Value []byte
		} `asn1:"explicit,tag:0,optional"`
	}
	ocspBasic struct {
		Data      ocspData
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
		Certs     []asn1.RawValue `asn1:"explicit,tag:0,optional"`
	}
	ocspData struct {
		Version    int `asn1:"explicit,tag:0,default:0,optional"`
		Responder  asn1.RawValue
		Produced   time.Time `asn1:"generalized"`
		Responses  []ocspSingle
		Extensions []pkix.Extension `asn1:"explicit,tag:1,optional"`
	}
	ocspSingle struct {
		ID struct {
			Hash    pkix.AlgorithmIdentifier
			Name    []byte
			KeyHash []byte
			Serial  *big.Int
		}
		Status     asn1.RawValue
		This       time.Time        `asn1:"generalized"`
		Next       time.Time        `asn1:"generalized,explicit,tag:0,optional"`
		Extensions []pkix.Extension `asn1:"explicit,tag:1,optional"`
	}
)

// Numbers of RFC 6960.
var (
	oidBasic    = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
	ocspStatus  = map[asn1.Enumerated]string{1: "malformedRequest", 2: "internalError", 3: "tryLater", 5: "sigRequired", 6: "unauthorized"}
	statusGood  = 0
	certStates  = map[int]string{1: "revoked", 2: "unknown"}
	issuerNames = map[string]crypto.Hash{"1.3.14.3.2.26": crypto.SHA1, "2.16.840.1.101.3.4.2.1": crypto.SHA256}
)

// errOCSP reports a file that holds no response of OCSP.
var errOCSP = errors.New("it is no response of OCSP in DER")

// parseStaple reads a response about a certificate. One that clients would refuse at
// any time comes with unsuitable, which says why. Its signature is for clients to check.
func parseStaple(der []byte, leaf *x509.Certificate) (s staple, unsuitable, err error) {
	var outer ocspResponse
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 {
		return s, nil, errOCSP
	}
	if outer.Status != 0 {
		return s, fmt.Errorf("the authority has refused to answer: status %d %s", outer.Status, ocspStatus[outer.Status]), nil
	}
	var basic ocspBasic
	if rest, err := asn1.Unmarshal(outer.Bytes.Value, &basic); !outer.Bytes.Type.Equal(oidBasic) || err != nil || len(rest) > 0 {
		return s, nil, errOCSP
	}
	for i := range basic.Data.Responses {
		one := &basic.Data.Responses[i]
		if one.ID.Serial == nil || one.ID.Serial.Cmp(leaf.SerialNumber) != 0 || !namesIssuer(one, leaf) {
			continue
		}
		if one.Status.Class != asn1.ClassContextSpecific || one.Status.Tag != statusGood {
			return s, fmt.Errorf("the certificate is %s", certStates[one.Status.Tag]), nil
		}
		return staple{der, one.This, one.Next}, nil, nil
	}
	return s, errors.New("it is about another certificate"), nil
}

// untimely says why clients would refuse the response now; nil: they would not.
func (s *staple) untimely(now time.Time) error {
	switch {
	case now.Before(s.from):
		return fmt.Errorf("it is good from %v on", s.from)
	case !s.until.IsZero() && now.After(s.until):
		return fmt.Errorf("it was good until %v", s.until)
	}
	return nil
}

// namesIssuer compares the issuer's name; one that is hashed in a way we do not know
// passes.
func namesIssuer(one *ocspSingle, leaf *x509.Certificate) bool {
	hash, known := issuerNames[one.ID.Hash.Algorithm.String()]
	if !known {
		return true
	}
	h := hash.New()
	h.Write(leaf.RawIssuer)
	return bytes.Equal(h.Sum(nil), one.ID.Name)
}
