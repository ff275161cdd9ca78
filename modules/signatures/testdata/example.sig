# Examples of signatures. The format is in the module's README.

signature: shellshock
in: any-field
contains: () {
must-match: () { :; }; /bin/id
must-not-match: Mozilla/5.0 (X11; Linux x86_64)

signature: passwd
in: path
suffix: /etc/passwd
must-match: /static/etc/passwd
must-not-match: /etc/passwd.html

signature: long-agent
in: field User-Agent
longer: 20
action: count
must-match: 123456789012345678901
must-not-match: curl/8
