package lab

// RunTests is the body of a TestMain: `os.Exit(lab.RunTests(m))`. An ordinary
// user's tests run in a user namespace where the kernel allows one; elsewhere
// those that call Require skip. m is a *testing.M; this package does not import
// testing, since programs link it.
func RunTests(m interface{ Run() int }) int {
	status, ran, _ := EnterUserNamespace() // Require says what is missing
	if ran {
		return status
	}
	return m.Run()
}

// TB is the part of testing.TB that Require uses.
type TB interface {
	Helper()
	Skipf(format string, args ...any)
}

// Require skips a test that needs a lab where none can be had, and says what is
// missing.
func Require(t TB) {
	t.Helper()
	if err := Available(); err != nil {
		t.Skipf("needs a lab: %v; %s", err, userNamespaceObstacle())
	}
}
