//go:build !wasip1

package forms

import "embed"

// Sources are the files that its forms are made of, for `promethos bench module`.
//
//go:embed forms.go reasons.go forms.json guest/main.go
var Sources embed.FS
