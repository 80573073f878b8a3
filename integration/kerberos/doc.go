// Package kerberos runs a Kerberos realm for tests: the KDC of MIT krb5, with its database in a directory of the caller
// and on a port of loopback or of any other address. It needs Debian's packages krb5-kdc, krb5-admin-server and
// krb5-user, and no privileges. Files is for realms in containers, and needs krb5-gss-samples too. Its tests compare package
// identity/kerberos with libkrb5.
package kerberos
