package wasm

// assembly is a guest written in bytes, for what no compiler makes.
type assembly struct {
	imports []assembledImport
	// process is the body of promethos_process(i32) after its locals, without the
	// last end; further bodies are of functions (i32) -> ().
	process []byte
	others  [][]byte
	// configure is the body of promethos_configure; nil answers 0.
	configure []byte
	locals    byte // of type i32, in every body, after the parameters
	pages     byte // of memory
	extra     []section
	noExports bool
	more      [][]byte // further exports
}

type assembledImport struct {
	name            string
	params, results []byte
}

const areaAt = 1024

func i32Const(v int32) []byte {
	b := []byte{opI32Const}
	for {
		low := byte(v & 0x7f)
		v >>= 7
		if v == 0 && low&0x40 == 0 || v == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}

// verdictOf stores a verdict in the first descriptor.
func verdictOf(v int32) []byte {
	return cat(i32Const(areaAt+areaDescriptor+dVerdict), i32Const(v), []byte{0x3a, 0, 0}) // i32.store8
}

func cat(parts ...[]byte) (b []byte) {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func vector(items ...[]byte) []byte {
	return cat(append([][]byte{putU32(nil, uint32(len(items)))}, items...)...)
}

func text(s string) []byte { return append(putU32(nil, uint32(len(s))), s...) }

func (a assembly) bytes() []byte {
	fn := func(params, results []byte) []byte {
		return cat([]byte{typeFunc}, putU32(nil, uint32(len(params))), params, putU32(nil, uint32(len(results))), results)
	}
	i32 := []byte{typeI32}
	types := [][]byte{fn(nil, i32), fn(i32, nil), fn([]byte{typeI32, typeI32}, i32)}
	var imports [][]byte
	for _, im := range a.imports {
		imports = append(imports, cat(text(callModule), text(im.name), []byte{externFunc}, putU32(nil, uint32(len(types)))))
		types = append(types, fn(im.params, im.results))
	}
	body := func(code []byte) []byte {
		b := []byte{0}
		if a.locals > 0 {
			b = []byte{1, a.locals, typeI32}
		}
		b = cat(b, code, []byte{opEnd})
		return append(putU32(nil, uint32(len(b))), b...)
	}
	if a.configure == nil {
		a.configure = i32Const(0)
	}
	functions := [][]byte{{0}, {0}, {2}, {1}}
	bodies := [][]byte{body(i32Const(abiVersion)), body(i32Const(areaAt)), body(a.configure), body(a.process)}
	for _, code := range a.others {
		functions, bodies = append(functions, []byte{1}), append(bodies, body(code))
	}
	first := uint32(len(a.imports))
	var exports [][]byte
	for i, name := range []string{exportABI, exportArea, exportConfigure, exportProcess} {
		exports = append(exports, cat(text(name), []byte{externFunc}, putU32(nil, first+uint32(i))))
	}
	exports = append(exports, cat(text("memory"), []byte{externMemory, 0}))
	exports = append(exports, a.more...)
	if a.pages == 0 {
		a.pages = 1
	}
	list := []section{{sectionType, vector(types...)}}
	if len(imports) > 0 {
		list = append(list, section{sectionImport, vector(imports...)})
	}
	list = append(list, section{sectionFunction, vector(functions...)}, section{sectionMemory, vector([]byte{0, a.pages})})
	list = append(list, a.extra...)
	if !a.noExports {
		list = append(list, section{sectionExport, vector(exports...)})
	}
	return join(append(list, section{sectionCode, vector(bodies...)}))
}
