// Package escape tries to get out.
//
// Its tests run hostile guests: TestEscapes has one for each hole that other
// sandboxes had, TestHostileCalls one that makes every call with every argument
// that would do harm. Around them stands a prey: files, processes, sockets, memory
// and a terminal of the host's that the user id which guests have there may use,
// so that only the jail is in the way. What of it was touched is seen from outside.
//
// Each escape is first tried where nothing, or something too weak, is in its way.
// That it gets out there shows that it would be seen if it got out of the jail,
// which is tried second, under every preset. To add one, write a function in
// testdata/escape and a row in the table of TestEscapes.
package escape
